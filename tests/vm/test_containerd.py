# SPDX-License-Identifier: Apache-2.0
"""Debian's containerd and `ctr` drive the engine as io.containerd.kata.v2."""
import os
import platform
import signal
import subprocess
import time
import unittest

from containerd_case import RUNTIME, ContainerdCase, folder
from kata_case import BIN, BUSYBOX, processes

TIMEOUT_S = 900


class Run(ContainerdCase):
    def test_guest_kernel(self):
        out = self.run_ok("x", "uname", "-a")
        self.assertIn("Linux", out)
        self.assertNotIn(platform.release(), out)

    def test_exit_status_and_streams(self):
        done = self.ctr(*self.run_args("s", "sh", "-c", "echo out; echo err >&2; exit 7",
                                       options=("--rm",)))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "out\n", "err\n"))

    def test_stdin(self):
        self.assertEqual(self.run_ok("i", "wc", "-c", stdin="12345"), "5\n")

    def test_native_snapshotter(self):
        self.assertEqual(self.run_ok("n", "cat", "/proc/1/comm",
                                     options=("--snapshotter", "native")), "cat\n")

    def test_options_reach_the_process(self):
        out = self.run_ok("o", "sh", "-c", "echo $A; pwd; ulimit -n",
                          options=("--env", "A=1 2", "--cwd", "/tmp"))
        self.assertEqual(out.split("\n")[:3], ["1 2", "/tmp", "1024"])

    def test_mount(self):
        with folder(self.root, "volume") as path:
            with open(os.path.join(path, "a"), "w", encoding="ascii") as f:
                f.write("from the host\n")
            both = f"type=bind,src={path},dst=/data,options=rbind:rw"
            self.assertEqual(self.run_ok("m", "sh", "-c", "cat /data/a; echo back >/data/b",
                                         options=("--mount", both)), "from the host\n")
            self.assertEqual(self.read(path, "b"), "back\n")
            done = self.ctr(*self.run_args(
                "m", "sh", "-c", "cat /data/a; echo x >/data/c", options=(
                    "--rm", "--mount", both.replace(":rw", ":ro"))))
            self.assertEqual(done.stdout, "from the host\n")
            self.assertIn("Read-only", done.stderr)

    def test_read_only(self):
        done = self.ctr(*self.run_args("r", "touch", "/x", options=("--rm", "--read-only")))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("Read-only", done.stderr)

    def test_limits(self):
        cgroup = "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro:nosuid"
        out = self.run_ok("l", "sh", "-c", "cd /sys/fs/cgroup; cat memory.max cpu.max; nproc",
                          options=("--memory-limit", str(128 << 20), "--cpus", "1.5",
                                   "--mount", cgroup))
        self.assertEqual(out.split(), [str(128 << 20), "150000", "100000", "2"])

    def test_program_that_does_not_exist(self):
        done = self.ctr(*self.run_args("p", "/no/such/program", options=("--rm",)))
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no/such/program", done.stderr)

    def test_devices(self):
        out = self.run_ok("d", "stat", "-c", "%t:%T", "/dev/kmsg", options=("--device", "/dev/kmsg"))
        self.assertEqual(out, "1:b\n")

    def test_host_network_is_refused(self):
        done = self.ctr(*self.run_args("h", "true", options=("--rm", "--net-host")))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("network", done.stderr)

    def test_privileged(self):
        out = self.run_ok("p", "sh", "-c", "grep CapEff /proc/self/status; mount -t tmpfs t /tmp"
                          " && echo mounted", options=("--privileged",))
        self.assertIn("mounted", out)


class Contract(ContainerdCase):
    """Start, delete, and what happens when either side ends."""

    def engine_pid(self, name, **kw):
        return int(self.read(self.bundle(name, **kw), "shim.pid"))

    def test_files_of_the_bundle(self):
        self.detached("f")
        self.assertEqual(self.read(self.bundle("f"), "address"), "unix:///run/kata/f/shim.sock")
        self.assertEqual(os.stat("/run/kata/f/shim.sock").st_mode & 0o777, 0o600)
        self.assertEqual(self.read("/run/kata/f/owner").split("\n")[:2],
                         ["default", self.daemon.socket])
        pid = self.engine_pid("f")
        self.assertEqual(os.path.basename(os.readlink(f"/proc/{pid}/exe")),
                         "containerd-shim-kata-v2")
        self.remove("f")

    def test_log_has_the_sandbox_in_every_line(self):
        start = len(self.daemon.log())
        self.run_ok("logged", "true")
        ours = [line for line in self.daemon.log()[start:].splitlines() if 'source="shim"' in line]
        self.assertGreater(len(ours), 5)
        for line in ours:
            self.assertIn('sandbox="logged"', line)
        self.assertTrue(any('container="logged"' in line or 'container=\\"logged' in line
                            for line in ours), ours)

    def test_containerd_restarts(self):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=sig):
                self.detached("r", "sh", "-c", "trap 'exit 4' USR1; while :; do sleep 0.1; done")
                pid = self.engine_pid("r")
                self.daemon.stop(sig)
                self.daemon.start()
                self.assertEqual(self.status("r"), "RUNNING")
                self.assertEqual(self.engine_pid("r"), pid)
                self.assertEqual(self.ok("task", "exec", "--exec-id", "1", "r", "echo", "well"),
                                 "well\n")
                waiting = self.background("task", "attach", "r")
                time.sleep(0.5)
                self.ok("task", "kill", "-s", "USR1", "r")
                waiting.communicate(timeout=20)
                self.assertEqual(waiting.returncode, 4)
                self.ctr("task", "rm", "r")
                self.ok("container", "rm", "r")

    def test_exit_while_containerd_is_away(self):
        self.detached("w", "sleep", "2")
        self.daemon.stop(signal.SIGKILL)
        time.sleep(3)
        self.daemon.start()
        self.assertEqual(self.status("w"), "STOPPED")
        self.ok("task", "rm", "w")
        self.ok("container", "rm", "w")

    def test_killed_engine(self):
        """containerd cleans up with `delete`; the same id runs again at once."""
        for _ in range(2):
            self.detached("k")
            with self.events() as events:
                os.kill(self.engine_pid("k"), signal.SIGKILL)
                self.wait_until(lambda: self.status("k") is None)
                events.wait_for("/tasks/delete")
            self.assertEqual(events.topics(), ["/tasks/exit", "/tasks/delete"])
            self.assertEqual(events.all[0][1]["exit_status"], 137)
            self.assertFalse(os.path.exists("/run/kata/k"))
            self.ok("container", "rm", "k")

    def test_start_after_a_killed_engine_answers_cleanly(self):
        """What start sweeps is logged, not printed: containerd reads all that it prints."""
        self.detached("dead")
        self.daemon.stop(signal.SIGKILL)
        os.kill(self.engine_pid("dead"), signal.SIGKILL)
        self.daemon.start()
        self.run_ok("next", "true")
        self.wait_until(lambda: self.status("dead") is None)
        self.ok("container", "rm", "dead")

    def test_delete_ends_a_living_engine(self):
        self.detached("l")
        pid = self.engine_pid("l")
        done = subprocess.run(
            [os.path.join(BIN, "containerd-shim-kata-v2"), "-namespace", "default", "-address",
             self.daemon.socket, "-publish-binary", "/bin/true", "-id", "l", "-bundle",
             self.bundle("l"), "delete"], capture_output=True, timeout=30, check=False,
            stdin=subprocess.DEVNULL)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"\x10\x89\x01", done.stdout)  # exit_status 137
        self.assertNotIn(pid, processes())
        self.assertFalse(os.path.exists("/run/kata/l"))
        self.wait_until(lambda: self.status("l") is None)
        self.ok("container", "rm", "l")

    def test_one_id_in_two_namespaces(self):
        self.detached("same", "sh", "-c", "echo first >/who; sleep 1000")
        self.ok("image", "import", BUSYBOX, namespace="other")
        self.detached("same", "sh", "-c", "echo second >/who; sleep 1000", namespace="other")
        time.sleep(0.5)
        for namespace, text in (("default", "first\n"), ("other", "second\n")):
            self.assertEqual(self.ok("task", "exec", "--exec-id", "1", "same", "cat", "/who",
                                     namespace=namespace), text)
        self.remove("same")
        self.assertEqual(self.status("same", namespace="other"), "RUNNING")
        self.detached("same", "sleep", "1001")
        self.remove("same", namespace="other")
        self.assertEqual(self.status("same"), "RUNNING")
        self.remove("same")

    def shim(self, *args, cwd="/"):
        return subprocess.run([os.path.join(BIN, "containerd-shim-kata-v2"), *args], cwd=cwd,
                              capture_output=True, text=True, timeout=30, check=False,
                              stdin=subprocess.DEVNULL)

    def test_failures_are_one_line(self):
        for args, word in ((("-id", "x", "start"), "namespace"),
                           (("-namespace", "n", "start"), "-id"),
                           (("-namespace", "n", "-id", "a/b", "start"), "a/b"),
                           (("-namespace", "n", "-id", "x" * 300, "start"), "xxx"),
                           (("-namespace", "n", "-id", "x" * 120, "start"), "too long"),
                           (("-namespace", "n", "-id", "x", "-bundle", "/nowhere", "delete"),
                            "/nowhere"),
                           (("-nonsense", "start"), "-nonsense"), (("begin",), "begin")):
            with self.subTest(args=args):
                with folder(self.root, "empty") as path:
                    done = self.shim(*args, cwd=path)
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(done.stdout, "")
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn(word, done.stderr)

    def test_version_and_info(self):
        self.assertRegex(self.shim("--version").stdout,
                         r"^Kata Containers containerd shim \(C\): id: io\.containerd\.kata\.v2, "
                         r"version: \S+, commit: \S+\n$")
        self.assertIn(RUNTIME, self.shim("-info").stdout)


class Task(ContainerdCase):
    def test_exec(self):
        self.detached("e")
        self.assertEqual(self.ok("task", "exec", "--exec-id", "1", "e", "cat", "/proc/1/comm"),
                         "sleep\n")
        done = self.ctr("task", "exec", "--exec-id", "2", "e", "sh", "-c", "echo o; exit 5")
        self.assertEqual((done.returncode, done.stdout), (5, "o\n"))
        self.assertEqual(self.ok("task", "exec", "--exec-id", "3", "e", "cat", stdin="abc"), "abc")
        done = self.ctr("task", "exec", "--exec-id", "4", "e", "nothing")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("nothing", done.stderr)
        self.remove("e")

    def test_pause_and_resume(self):
        self.detached("p", "sh", "-c", "while :; do sleep 0.2; date +%s.%N >/t; done")
        self.assertEqual(self.status("p"), "RUNNING")
        self.ok("task", "pause", "p")
        self.assertEqual(self.status("p"), "PAUSED")
        done = self.ctr("task", "exec", "--exec-id", "1", "p", "true")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("paused", done.stderr)
        self.ok("task", "resume", "p")
        self.assertEqual(self.status("p"), "RUNNING")
        self.ok("task", "exec", "--exec-id", "2", "p", "true")
        self.remove("p")

    def test_kill(self):
        self.detached("k", "sh", "-c", "trap 'exit 3' USR1; while :; do sleep 0.1; done")
        time.sleep(1)
        waiting = self.background("task", "attach", "k")
        self.ok("task", "kill", "-s", "USR1", "k")
        self.wait_stopped("k")
        waiting.communicate(timeout=20)
        self.assertEqual(waiting.returncode, 3)
        self.ctr("task", "rm", "k")
        self.ok("container", "rm", "k")

    def test_process_list_names_the_guests(self):
        self.detached("l", "sh", "-c", "sleep 1000 & sleep 1001 & wait")
        out = self.ok("task", "ps", "l")
        self.assertIn("guest", out)
        self.remove("l")

    def test_attach(self):
        self.detached("a", "sh", "-c", "while read x; do echo got $x; done; echo end",
                      options=())
        self.remove("a")

    def test_metrics(self):
        self.detached("m")
        out = self.ok("task", "metrics", "m")
        self.assertRegex(out, r"memory\.usage_in_bytes\s+[1-9]")
        self.remove("m")

    def test_delete(self):
        self.detached("d")
        done = self.ctr("task", "rm", "d")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("running", done.stderr)
        self.ok("task", "rm", "-f", "d")
        self.ok("container", "rm", "d")


if __name__ == "__main__":
    unittest.main(verbosity=2)
