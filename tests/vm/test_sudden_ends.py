# SPDX-License-Identifier: Apache-2.0
"""Each of the processes is killed at some moment: the others find out, nothing is left."""
import os
import signal
import threading
import time
import unittest

from bad_case import EndCase, wait_until

TIMEOUT_S = 900
KERNEL = "any"
LAB = "full"


class Killed(EndCase):
    def test_client(self):
        """As with docker: a container outlives who started it, also one that writes."""
        p = self.start("run", "--name", "c", "--network", "none", "busybox", "sh", "-c",
                       "echo ready; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; "
                       "echo end >/end; sleep 1000")
        self.assertEqual(p.stdout.readline(), "ready\n")
        p.kill()
        p.communicate(timeout=20)
        self.assertTrue(wait_until(
            lambda: self.call("exec", "c", "cat", "/end").stdout == "end\n"))
        self.assertEqual(self.inspect("c")["state"]["status"], "running")
        self.assertEqual(self.call("rm", "-f", "c").returncode, 0)
        self.all_gone()

    def test_client_while_it_makes(self):
        """What was not made ends at once, and can be removed."""
        p = self.start("run", "--name", "half", "--network", "none", "busybox", "sleep", "1000")
        self.assertTrue(wait_until(lambda: self.ours("qemu-system-x86_64")))
        p.kill()
        p.communicate(timeout=20)
        self.all_gone()
        self.assertEqual(self.inspect("half")["state"]["status"], "dead")
        self.assertEqual(self.call("rm", "half").returncode, 0)

    def test_client_at_its_first_steps(self):
        """What it has made by then is removed by the next run, and is in nobody's way."""
        def parts():
            return [name for part in ("containers", "names", "leases")
                    for name in os.listdir(os.path.join(self.root, part))]

        self.assertEqual(self.call("run", "--rm", "--network", "none", "busybox", "true", within=60).returncode, 0)
        self.assertEqual(parts(), [])
        for name in ("a" * 64, ".half-" + "b" * 64):
            os.mkdir(os.path.join(self.root, "containers", name))
        for name, leads in (("half", "b"), ("nowhere", "c")):
            os.symlink(leads * 64, os.path.join(self.root, "names", name))
        done = self.call("run", "--rm", "--network", "none", "--name", "nowhere", "busybox", "true", within=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(parts(), [])
        for i in range(40):
            p = self.start("run", "--rm", "--network", "none", "--name", "n", "busybox", "true")
            time.sleep(0.0003 * i)
            p.kill()
            p.communicate(timeout=20)
        # an engine that one has started ends by itself, and has the name until then
        self.assertTrue(wait_until(lambda: self.call("run", "--rm", "--network", "none", "--name", "n", "busybox",
                                                     "true", within=60).returncode == 0))
        self.all_gone()
        self.assertEqual(parts(), [])

    def test_client_and_engine_of_one_to_be_removed(self):
        """Nobody is left to do it: the next one does, and may have its name."""
        p = self.start("run", "--rm", "--name", "r", "--network", "none", "busybox", "sh", "-c",
                       "echo ready; sleep 1000")
        self.assertEqual(p.stdout.readline(), "ready\n")
        p.kill()
        self.kill("containerd-shim-kata-v2")
        p.communicate(timeout=20)
        self.all_gone()
        self.assertEqual(len(self.containers()), 1)
        self.works(options=("--name", "r"))
        self.assertEqual(self.containers(), [])

    def test_machine(self):
        """run and exec exit with 125 and say why; so does wait, of the recorded 255."""
        p = self.start("run", "--name", "m", "--network", "none", "busybox", "sh", "-c",
                       "echo ready; sleep 1000")
        self.assertEqual(p.stdout.readline(), "ready\n")
        x = self.start("exec", "m", "sh", "-c", "echo ready; sleep 1000")
        self.assertEqual(x.stdout.readline(), "ready\n")
        w = self.start("wait", "m")
        time.sleep(0.3)
        self.kill("qemu-system-x86_64")
        err = p.communicate(timeout=20)[1]
        self.assertEqual(p.returncode, 125, err)
        self.one_line(err, "killed by signal 9")
        out, err = w.communicate(timeout=20)
        self.assertEqual(out, "255\n")
        self.one_line(err, "killed by signal 9")
        err = x.communicate(timeout=20)[1]
        self.assertEqual(x.returncode, 125, err)
        self.one_line(err, "killed by signal 9")
        self.all_gone()
        self.assertEqual(self.inspect("m")["state"]["exit_status"], 255)

    def test_file_server(self):
        self.detached("v")
        if not self.ours("virtiofsd"):
            self.skipTest("files are shared without virtiofsd here")
        self.kill("virtiofsd")
        self.assertEqual(self.call("wait", "v").stdout, "255\n")
        self.all_gone()
        self.assertIn("virtiofsd", self.inspect("v")["state"]["error"])

    def test_engine_while_it_starts(self):
        """At any moment of the start: the client fails with a reason, the machine dies too."""
        for tenths in (0.5, 2, 5, 8, 10, 12, 15, 20):
            with self.subTest(after_s=tenths / 10):
                p = self.start("run", "--rm", "--network", "none", "busybox", "sleep", "1000")
                self.assertTrue(wait_until(lambda: self.ours("containerd-shim-kata-v2")))
                time.sleep(tenths / 10)
                self.kill("containerd-shim-kata-v2")
                err = p.communicate(timeout=20)[1]
                self.assertEqual(p.returncode, 125, err)
                self.assertTrue(err.startswith("kata: "), err)
                self.all_gone()
        self.works()  # and sweeps what is left in /run

    def test_engine_of_a_running_container(self):
        p = self.start("run", "--name", "e", "--network", "none", "busybox", "sh", "-c",
                       "echo ready; sleep 1000")
        self.assertEqual(p.stdout.readline(), "ready\n")
        self.kill("containerd-shim-kata-v2")
        err = p.communicate(timeout=20)[1]
        self.assertNotEqual(p.returncode, 0)
        self.assertRegex(err, "^kata: the engine of container '[0-9a-f]{12}' was killed\n$")
        self.all_gone()
        self.assertEqual(self.inspect("e")["state"]["status"], "dead")
        self.works()


    def test_stand_in(self):
        """What the host knows as the container's process: who ends it means the container."""
        for sig in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(sig=sig):
                self.detached("i")
                self.kill("kata-stand-in", sig)
                self.assertEqual(self.call("wait", "i").stdout, "137\n")
                log = os.path.join(self.inspect("i")["directory"], "shim.log")
                with open(log, encoding="utf-8") as f:
                    self.assertIn(f"process on the host was ended ({128 + sig})", f.read())
                self.assertEqual(self.call("rm", "i").returncode, 0)
                self.all_gone()

    def test_engine_of_a_client_that_is_stopped(self):
        """The container has run: that nobody can say so any more does not make it a new one."""
        p = self.start("run", "--name", "p", "--network", "none", "busybox", "sh", "-c",
                       "echo ready; sleep 1000")
        self.assertEqual(p.stdout.readline(), "ready\n")
        p.send_signal(signal.SIGSTOP)
        self.kill("containerd-shim-kata-v2")
        self.all_gone()
        self.assertEqual(self.inspect("p")["state"]["status"], "dead")
        self.assertEqual(self.call("logs", "-f", "p").stdout, "ready\n")
        self.assertEqual(self.call("stop", "p").returncode, 0)
        self.assertEqual(self.call("wait", "p").stdout, "255\n")
        done = self.call("exec", "p", "true")
        self.assertEqual(done.returncode, 125)
        self.one_line(done.stderr, "container '", "' is not running")
        p.send_signal(signal.SIGCONT)
        self.assertIn("was killed", p.communicate(timeout=20)[1])
        self.works()


class AtOnce(EndCase):
    def test_one_name(self):
        """Two that want the same name: exactly one gets it."""
        both = [self.start("run", "-d", "--name", "x", "--network", "none", "busybox", "sleep", "1000")
                for _ in range(2)]
        results = [(p.communicate(timeout=60), p.returncode) for p in both]
        self.assertEqual(sorted(code for _, code in results), [0, 125], results)
        self.assertIn("'x'", next(out[1] for out, code in results if code))
        self.assertEqual(self.call("rm", "-f", "x").returncode, 0)

    def test_many_that_fail(self):
        """Each makes and removes a container, and looks for what the others may have left in the middle."""
        for _ in range(4):
            all_ = [self.start("run", "--rm", "--network", "none", "-v", "/nowhere:/x", "busybox", "true")
                    for _ in range(24)]
            said = {p.communicate(timeout=60)[1] for p in all_}
            self.assertEqual(said, {"kata: -v '/nowhere:/x': source: No such file or directory\n"})
        for part in ("containers", "names", "leases"):
            self.assertEqual(os.listdir(os.path.join(self.root, part)), [])

    def test_eight(self):
        done = []
        threads = [threading.Thread(target=lambda: done.append(self.kata(
            "run", "--rm", "--network", "none", "--memory", "64m", "busybox", "echo", "well")))
            for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual([d.stdout for d in done], ["well\n"] * 8, [d.stderr for d in done])


if __name__ == "__main__":
    unittest.main(verbosity=2)
