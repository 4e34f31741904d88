# SPDX-License-Identifier: Apache-2.0
"""containerd 2 drives the engine: its bootstrap, version 3 of the Task API, the Sandbox API.

Debian has one from 14 on. KATA_TEST_CONTAINERD names a directory that holds `containerd` and `ctr`
of one, as `go install github.com/containerd/containerd/v2/cmd/{containerd,ctr}@latest` makes them.
"""
import os
import re
import shutil
import signal
import subprocess
import unittest

import grpc_client as rpc
from cri_case import NAMESPACE, POD, RUNNING, TARGET, CriCase
from kata_case import BUSYBOX, processes

LAB = "full"
TIMEOUT_S = 900

CONFIG = """version = 3
root = "{root}/root"
state = "{root}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.erofs", "io.containerd.nri.v1.nri",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{root}/c.sock"
[debug]
  level = "debug"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "docker.io/library/pause:test"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{root}/cni-bin"]
    conf_dir = "{root}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "kata"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.kata]
      runtime_type = "io.containerd.kata.v2"
      sandboxer = "{sandboxer}"
      privileged_without_host_devices = true
"""
OPTIONS = """
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.kata.options]
        ConfigPath = "{root}/configuration.toml"
"""


def said():
    """What the containerd on the PATH says of its version; "" without one."""
    path = shutil.which("containerd")
    return path and subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30,
                                   check=False).stdout.strip() or ""


def version():
    """(2, 1) for 2.1.9. One that was built as a Go module does not know its number: a new one."""
    found = re.search(r" v?(\d+)\.(\d+)\.\d+", said())
    return tuple(map(int, found.groups())) if found else (2, 99) if "/v2" in said() else (0, 0)


def why_not():
    """The reason why containerd is none of version 2; "" if it is."""
    if not said():
        return "no containerd on the PATH"
    return "" if version() >= (2, 0) else f"no containerd 2: {said()}; see KATA_TEST_CONTAINERD"


# From here on it gives parameters to `start`, which is how one knows that it takes version 3, and it
# starts a container in a pod of the Sandbox API although its runtime has options.
NEW = (2, 3)


class Containerd2(CriCase):
    sandboxer = "podsandbox"

    @classmethod
    def setUpClass(cls):
        if why_not():
            raise unittest.SkipTest(why_not())
        super().setUpClass()

    @classmethod
    def prepare(cls):
        super().prepare()
        options = OPTIONS if version() >= NEW else ""
        if not options:
            cls.env = {"KATA_CONF_FILE": os.path.join(cls.root, "configuration.toml")}
        cls.config_text = (CONFIG + options).format(root=cls.root, sandboxer=cls.sandboxer)


class Tasks(Containerd2):
    def test_version(self):
        """The parameters on standard input are understood, the answer is taken as JSON."""
        self.ok("image", "import", BUSYBOX)
        self.assertEqual(self.run_ok("x", "cat", "/proc/1/comm"), "cat\n")
        number = 3 if version() >= NEW else 2
        self.assertRegex(self.daemon.log(), rf"kata/x/shim\.sock\D*protocol=ttrpc version={number}")

    def test_restart(self):
        self.ok("image", "import", BUSYBOX)
        self.detached("r")
        for sig in (signal.SIGTERM, signal.SIGKILL):
            self.daemon.stop(sig)
            self.daemon.start()
            self.assertEqual(self.status("r"), "RUNNING")
            self.assertEqual(self.ok("task", "exec", "--exec-id", str(sig), "r", "echo", "well"),
                             "well\n")
        self.remove("r")

    def test_killed_engine(self):
        self.ok("image", "import", BUSYBOX)
        self.detached("k")
        os.kill(int(self.read(self.bundle("k"), "shim.pid")), signal.SIGKILL)
        self.wait_until(lambda: self.status("k") is None)
        self.ok("container", "rm", "k")

    def test_process_list(self):
        self.ok("image", "import", BUSYBOX)
        self.detached("l")
        self.assertRegex(self.ok("task", "ps", "l"), r"(?i)\d+ .*pid")
        self.ok("task", "metrics", "l")
        self.remove("l")


class PodCase(Containerd2):
    def check_pod(self):
        pod = self.run_pod("pod")
        first, second = self.start(pod, "first"), self.start(pod, "second")
        self.assertEqual(self.output(first, "cat", "/proc/1/comm"), "sleep\n")
        for read in (("hostname",), ("cat", "/proc/sys/kernel/random/boot_id"),
                     ("readlink", "/proc/self/ns/net")):
            self.assertEqual(self.output(first, *read), self.output(second, *read))
        self.assertEqual(self.output(first, "hostname"), "pod\n")
        self.output(first, "sh", "-c", "echo shared >/dev/shm/x")
        self.assertEqual(self.output(second, "cat", "/dev/shm/x"), "shared\n")
        self.cri("StopContainer", {1: first, 2: 0})
        self.cri("RemoveContainer", {1: first})
        self.restart(signal.SIGKILL)
        third = self.start(pod, "third")
        self.assertEqual(self.container_status(third)[0], RUNNING)
        self.assertEqual(self.sync(second, "sh", "-c", "exit 7")[0], 7)
        return pod


class PauseContainer(PodCase):
    def test_pod(self):
        pod = self.check_pod()
        self.assertEqual(len(self.ok("container", "ls", "-q", namespace=NAMESPACE).split()), 3)
        self.remove_pod(pod)

    def test_words_of_the_pod(self):
        self.check_words_of_the_pod()


class NoPauseContainer(PodCase):
    sandboxer = "shim"

    def test_pod(self):
        pod = self.check_pod()
        self.assertEqual(len(self.ok("container", "ls", "-q", namespace=NAMESPACE).split()), 2)
        self.remove_pod(pod)

    def test_words_of_the_pod(self):
        self.check_words_of_the_pod()

    def test_lost_machine(self):
        pod = self.run_pod("lost")
        c = self.start(pod, "c")
        for pid, name in processes().items():
            if name.startswith("qemu") and pid not in self.before["processes"]:
                os.kill(pid, signal.SIGKILL)
        self.assertNotEqual(self.wait_exited(c), 0)
        self.wait_until(lambda: rpc.number(rpc.inner(
            self.cri("PodSandboxStatus", {1: pod[0]}), 1), 3) == 1)
        self.remove_pod(pod)

    def test_shared_processes(self):
        """Nobody's end is the others': the first process is the agent's."""
        pod = self.run_pod("pids", linux={2: {1: {2: POD}}})
        first = self.start(pod, "first", linux={2: {3: {2: POD}}})
        second = self.start(pod, "second", "sleep", "4321", linux={2: {3: {2: POD}}})
        self.assertIn("sleep 4321", self.output(first, "ps"))
        self.assertEqual(self.output(first, "cat", "/proc/1/comm"), "pause\n")
        self.cri("StopContainer", {1: first, 2: 0})
        self.assertIn("sleep 4321", self.output(second, "ps"))
        self.cri("StopContainer", {1: second, 2: 0})
        self.assertNotIn("4321", self.output(self.start(pod, "third", linux={2: {3: {2: POD}}}), "ps"))
        self.remove_pod(pod)

    def test_processes_of_one_container(self):
        pod = self.run_pod("target")
        main = self.start(pod, "main", "sleep", "4321")
        debugger = self.start(pod, "debugger", linux={2: {3: {2: TARGET, 4: main}}})
        self.assertIn("sleep 4321", self.output(debugger, "ps"))
        self.remove_pod(pod)

    def test_configuration_of_the_runtime(self):
        """There is no Create that could carry it: it comes with start's parameters, or by environment."""
        pod = self.run_pod("configured")
        c = self.start(pod, "c")
        self.assertLess(int(self.output(c, "cat", "/proc/meminfo").split()[1]), 512 << 10)
        self.remove_pod(pod)


if __name__ == "__main__":
    unittest.main(verbosity=2)
