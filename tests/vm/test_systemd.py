# SPDX-License-Identifier: Apache-2.0
"""Where systemd is PID 1: its cgroup driver's scopes, and containerd as its service.

It restarts this host's containerd, so it runs in the laboratory alone (tests/lab).
"""
import os
import signal
import subprocess
import time
import unittest

LAB = "full"
HERE = os.environ.get("KATA_LAB") == "1" and os.path.isdir("/run/systemd/system")
if HERE:
    # systemd knows processes by the numbers they have outside of any namespace
    os.environ["KATA_TEST_NAMESPACE"] = "none"

from containerd_case import RUNTIME, IMAGE  # noqa: E402
from cri_case import CriCase  # noqa: E402
from kata_case import BIN, BUSYBOX, LIMIT, SLOWNESS, changes, footprint, processes  # noqa: E402

SLICE = "/kata.slice/kata-test.slice"
CGROUPS = "/sys/fs/cgroup"
DROP_IN = "/run/systemd/system/containerd.service.d/kata.conf"


def systemctl(*args):
    return subprocess.run(["systemctl", *args], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=LIMIT, check=False)


def cgroup(pid):
    """Of systemd's own hierarchy, which is that of version 2 where there is no other."""
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        found = dict(line.strip().split(":", 2)[1:] for line in f)
    return found.get("name=systemd", found.get(""))


def until(what, seconds=30):
    end = time.monotonic() + seconds * SLOWNESS
    while not what():
        if time.monotonic() > end:
            raise AssertionError("not in time")
        time.sleep(0.05)


@unittest.skipUnless(HERE, "needs the laboratory with systemd as PID 1")
class Scopes(CriCase):
    """linux.cgroupsPath in systemd's form."""

    @classmethod
    def load_images(cls):
        super().load_images()
        cls.ok("image", "import", BUSYBOX)

    def setUp(self):
        super().setUp()
        self.pods = []

    def check_nothing_left(self):
        for pod in self.pods:
            self.cri("StopPodSandbox", {1: pod})
            self.cri("RemovePodSandbox", {1: pod})
        super().check_nothing_left()

    def check_scope(self, unit):
        """Engine, machine and helpers are in the unit, and it says so itself."""
        found = processes()
        self.assertIn("qemu-system-x86_64", found.values())
        for pid, name in found.items():
            self.assertEqual(cgroup(pid), f"{SLICE}/{unit}", name)
        shown = dict(line.split("=", 1) for line in systemctl(
            "show", unit, "-p", "ActiveState,Slice,Delegate,ControlGroup").stdout.splitlines())
        self.assertEqual(shown, {"ActiveState": "active", "Slice": "kata-test.slice",
                                 "Delegate": "yes", "ControlGroup": f"{SLICE}/{unit}"})

    def is_gone(self, unit):
        shown = systemctl("show", unit, "-p", "LoadState,ActiveState").stdout
        return "ActiveState=inactive" in shown and not os.path.exists(f"{CGROUPS}{SLICE}/{unit}") \
            and not os.path.exists(f"{CGROUPS}/systemd{SLICE}/{unit}")

    def test_of_a_container(self):
        for kill in (False, False, True, False):  # at once under the name that was just given up
            self.detached("s", options=("--cgroup", "kata-test.slice:kata:s"))
            self.check_scope("kata-s.scope")
            self.assertEqual(self.ok("task", "exec", "--exec-id", "e", "s", "echo", "alive"), "alive\n")
            if kill:
                os.kill(self.engine_pid("s"), signal.SIGKILL)
                self.wait_until(lambda: self.status("s") != "RUNNING")
                self.ctr("task", "rm", "s")
                self.ok("container", "rm", "s")
            else:
                self.remove("s")
        until(lambda: self.is_gone("kata-s.scope"))

    def test_taken_name(self):
        """A scope that somebody else has: an error with systemd's words, and it stays theirs."""
        other = subprocess.Popen(["systemd-run", "--scope", "--quiet", "--unit", "kata-t", "sleep", "300"])
        try:
            until(lambda: "ActiveState=active" in systemctl("show", "kata-t.scope", "-p", "ActiveState").stdout)
            done = self.ctr(*self.run_args("t", "true", options=(
                "--rm", "--cgroup", "kata-test.slice:kata:t")))
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, r"ask systemd for 'kata-t.scope' in 'kata-test.slice'.*kata-t.scope "
                             "(already exists|was already loaded)")
            self.assertIsNone(other.poll())
        finally:
            other.kill()
            other.wait(20)

    def test_no_slice(self):
        done = self.ctr(*self.run_args("n", "true", options=("--rm", "--cgroup", "a.service:kata:n")))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("'a.service' is no slice", done.stderr)

    def test_of_a_pod(self):
        """What a kubelet with the systemd driver asks for."""
        pod = self.run_pod("p", linux={1: SLICE})
        container = self.start(pod, "c")
        self.check_scope(f"cri-containerd-{pod[0]}.scope")
        self.assertEqual(self.output(container, "echo", "alive"), "alive\n")
        self.cri("StopPodSandbox", {1: pod[0]})
        self.cri("RemovePodSandbox", {1: pod[0]})
        self.pods.clear()
        until(lambda: self.is_gone(f"cri-containerd-{pod[0]}.scope"))


@unittest.skipUnless(HERE, "needs the laboratory with systemd as PID 1")
class Service(unittest.TestCase):
    """Debian's containerd.service, which does not end what it has started (KillMode=process)."""

    @classmethod
    def setUpClass(cls):
        os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
        with open(DROP_IN, "w", encoding="ascii") as f:
            f.write(f"[Service]\nEnvironment=PATH={BIN}:{os.environ['PATH']}\n")
        cls.addClassCleanup(cls.undo)
        cls.systemctl_ok("daemon-reload")
        cls.systemctl_ok("restart", "containerd")
        cls.ok("image", "import", BUSYBOX)

    @classmethod
    def undo(cls):
        os.unlink(DROP_IN)
        cls.systemctl_ok("daemon-reload")
        cls.systemctl_ok("restart", "containerd")

    @classmethod
    def systemctl_ok(cls, *args):
        done = systemctl(*args)
        if done.returncode:
            raise AssertionError(f"systemctl {' '.join(args)}: {done.stderr}")

    @classmethod
    def ok(cls, *args):
        done = subprocess.run(["ctr", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=LIMIT, check=False)
        if done.returncode:
            raise AssertionError(f"ctr {' '.join(args)}: {done.returncode} {done.stderr}")
        return done.stdout

    def setUp(self):
        self.before = footprint("")
        self.ok("run", "-d", "--runtime", RUNTIME, IMAGE, "r", "sleep", "1000")
        self.addCleanup(self.end)

    def end(self):
        self.ok("task", "kill", "-s", "KILL", "r")
        until(lambda: "RUNNING" not in self.ok("task", "ls"))
        self.ok("task", "rm", "r")
        self.ok("container", "rm", "r")
        until(lambda: not changes(self.before, ""))

    def check_alive(self, engine):
        self.assertRegex(self.ok("task", "ls"), r"r +\d+ +RUNNING")
        self.assertEqual(self.ok("task", "exec", "--exec-id", "e", "r", "echo", "alive"), "alive\n")
        self.assertEqual([pid for pid, name in processes().items() if name == "containerd-shim-kata-v2"],
                         [engine])

    def test_restart(self):
        engine = next(pid for pid, name in processes().items() if name == "containerd-shim-kata-v2")
        self.systemctl_ok("restart", "containerd")
        self.check_alive(engine)

    def test_killed(self):
        engine = next(pid for pid, name in processes().items() if name == "containerd-shim-kata-v2")
        main = systemctl("show", "containerd", "-p", "MainPID").stdout
        self.systemctl_ok("kill", "--kill-whom=main", "-s", "KILL", "containerd")
        until(lambda: systemctl("show", "containerd", "-p", "MainPID").stdout not in (main, "MainPID=0\n"))
        until(lambda: systemctl("is-active", "containerd").returncode == 0)
        self.check_alive(engine)


if __name__ == "__main__":
    unittest.main(verbosity=2)
