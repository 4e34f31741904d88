# SPDX-License-Identifier: Apache-2.0
"""Each of the processes is stopped, and does not answer: the others say so, and end by their deadlines."""
import contextlib
import glob
import os
import signal
import socket
import threading
import time
import unittest

from bad_case import EndCase, wait_until

TIMEOUT_S = 900
KERNEL = "any"
WAITS = "mostly"
LAB = "full"


class Stopped(EndCase):
    def test_stopped_machine(self):
        """A QEMU that is stopped takes no signal and no command: stop and rm -f end it."""
        for verb in (["stop", "-t", "1"], ["rm", "-f"]):
            with self.subTest(verb=verb):
                self.detached("s")
                self.kill("qemu-system-x86_64", signal.SIGSTOP)
                done = self.call(*verb, "s", within=30)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.all_gone()
                if verb[0] == "stop":
                    log = os.path.join(self.inspect("s")["directory"], "shim.log")
                    with open(log, encoding="utf-8") as f:
                        self.assertIn("does not answer any more", f.read())
                    self.assertEqual(self.call("rm", "s").returncode, 0)

    def test_stopped_file_server(self):
        """Both of its processes end with the sandbox, also those that hear nothing."""
        self.detached("f")
        self.kill("virtiofsd", signal.SIGSTOP)
        self.assertEqual(self.call("rm", "-f", "f", within=60).returncode, 0)
        self.all_gone()

    def test_stopped_engine(self):
        """Its container is not dead, and can be stopped: the machine goes with its engine."""
        self.detached("h", "sh", "-c", "echo ready; sleep 1000")
        self.assertTrue(wait_until(lambda: self.call("logs", "h").stdout))
        self.kill("containerd-shim-kata-v2", signal.SIGSTOP)
        logs, late = self.start("logs", "-f", "h"), self.start("exec", "h", "true")
        began = time.monotonic()
        self.assertEqual(logs.stdout.readline(), "ready\n")
        self.assertLess(time.monotonic() - began, 20)
        self.assertEqual(self.inspect("h")["state"]["status"], "unresponsive")
        self.assertIsNone(logs.poll())
        err = late.communicate(timeout=60)[1]
        self.assertEqual(late.returncode, 125)
        self.one_line(err, "container '", "does not answer, `kata rm -f` ends it")
        done = self.call("stop", "-t", "1", "h", within=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.one_line(done.stderr, "its engine did not answer and was killed")
        logs.communicate(timeout=60)
        self.assertEqual(self.call("rm", "h").returncode, 0)

    def test_longer_than_a_look_at_the_engine(self):
        """Which is every minute: what ends later gives its output and status all the same."""
        self.detached("long")
        late = ("sh", "-c", "sleep 63; head -c 300000 /dev/zero; exit 3")
        exec_ = self.start("exec", "long", *late)
        run = self.start("run", "--rm", "--network", "none", "busybox", *late)
        for each in (exec_, run):
            out, err = each.communicate(timeout=150)
            self.assertEqual((each.returncode, len(out), err), (3, 300000, ""))
        self.assertEqual(self.call("rm", "-f", "long", within=60).returncode, 0)

    def test_waits_for_a_stopped_engine(self):
        """They end, by name; so do a signal, and a list, which does not wait for long."""
        run = self.start("run", "--name", "h", "--network", "none", "busybox", "sh", "-c", "echo ready; sleep 1000")
        self.assertEqual(run.stdout.readline(), "ready\n")
        self.kill("containerd-shim-kata-v2", signal.SIGSTOP)
        wait = self.start("wait", "h")
        began = time.monotonic()
        self.assertIn("unresponsive", self.call("ps").stdout)
        self.assertEqual(self.call("logs", "h").stdout, "ready\n")
        self.assertLess(time.monotonic() - began, 20)
        done = self.call("kill", "-s", "USR1", "h", within=30)
        self.assertEqual(done.returncode, 1)
        self.one_line(done.stderr, "container '", "does not answer, `kata rm -f` ends it")
        for each, status in ((wait, 1), (run, 125)):
            err = each.communicate(timeout=150)[1]
            self.assertEqual(each.returncode, status, err)
            self.one_line(err, "container '", "does not answer, `kata rm -f` ends it")
        self.assertEqual(self.call("rm", "-f", "h", within=60).returncode, 0)

    def test_engine_with_a_full_queue(self):
        """Callers that came while it could not answer fill its socket: the next one waits."""
        self.detached("q")
        pid = self.kill("containerd-shim-kata-v2", signal.SIGSTOP)
        path = glob.glob("/run/kata/*/shim.sock")[0]
        callers = []
        with contextlib.suppress(BlockingIOError):
            while len(callers) < 10000:
                one = socket.socket(socket.AF_UNIX)
                callers.append(one)
                one.setblocking(False)
                one.connect(path)
        for one in callers:
            one.close()
        again = threading.Timer(1, os.kill, (pid, signal.SIGCONT))
        again.start()
        done = self.call("rm", "-f", "q", within=30)
        again.join()
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
