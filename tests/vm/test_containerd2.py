# SPDX-License-Identifier: Apache-2.0
"""containerd 2 drives the engine: its bootstrap, version 3 of the Task API, the Sandbox API.

Debian 12 has no containerd 2. KATA_TEST_CONTAINERD2 names a directory that holds `containerd` and
`ctr` of one; else the ones on the PATH serve if they are new enough.
"""
import os
import re
import shutil
import subprocess
import unittest

import grpc_client as rpc
from containerd_case import folder
from cri_case import NAMESPACE, NODE, POD, RUNNING, CriCase
from kata_case import BUSYBOX, processes

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
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.kata.options]
        ConfigPath = "{root}/configuration.toml"
"""


def programs():
    """The directory of a containerd 2, or the reason why there is none."""
    given = os.environ.get("KATA_TEST_CONTAINERD2")
    path = shutil.which("containerd", path=given) if given else shutil.which("containerd")
    if not path:
        return None, f"no containerd in {given or 'the PATH'}"
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30,
                          check=False).stdout
    version = re.search(r" v?(\d+)\.\d+\.\d+", said)
    if not version or int(version.group(1)) < 2:
        return None, f"{path} is no containerd 2 ({said.strip()}); see KATA_TEST_CONTAINERD2"
    return os.path.dirname(path), ""


class Containerd2(CriCase):
    sandboxer = "podsandbox"

    @classmethod
    def setUpClass(cls):
        where, why = programs()
        if not where:
            raise unittest.SkipTest(why)
        os.environ["PATH"] = f"{where}:{os.environ['PATH']}"
        super().setUpClass()

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.config_text = CONFIG.format(root=cls.root, sandboxer=cls.sandboxer)


class Tasks(Containerd2):
    def test_run(self):
        self.ok("image", "import", BUSYBOX)
        self.assertEqual(self.run_ok("x", "cat", "/proc/1/comm"), "cat\n")
        bootstrap = self.daemon.log()
        self.assertRegex(bootstrap, r"kata/x/shim\.sock.*version[=:\\\"]+3")


class PauseContainer(Containerd2):
    def test_pod(self):
        pod = self.run_pod("classic")
        c = self.start(pod, "c")
        self.assertEqual(self.output(c, "echo", "well"), "well\n")
        self.remove_pod(pod)


class NoPauseContainer(Containerd2):
    sandboxer = "shim"

    def test_pod(self):
        pod = self.run_pod("bare")
        self.assertEqual(self.ok("container", "ls", "-q", namespace=NAMESPACE), "")
        first, second = self.start(pod, "first"), self.start(pod, "second")
        self.assertEqual(self.output(first, "cat", "/proc/1/comm"), "sleep\n")
        self.assertEqual(self.output(first, "cat", "/proc/sys/kernel/random/boot_id"),
                         self.output(second, "cat", "/proc/sys/kernel/random/boot_id"))
        self.assertEqual(self.output(first, "hostname"), "bare\n")
        self.remove_pod(pod)


if __name__ == "__main__":
    unittest.main(verbosity=2)
