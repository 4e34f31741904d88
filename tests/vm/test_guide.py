# SPDX-License-Identifier: Apache-2.0
"""The installation guide's configuration, alone and as it stands there, on a fresh installation."""
import os
import subprocess
import unittest

from kata_case import BUILD, TREE, KataCase

TIMEOUT_S = 300
PREFIX = "/opt/kata"
SHARE = PREFIX + "/share/kata-containers"
BLOCK = """\
[hypervisor.qemu]
path = "/opt/kata/bin/qemu-system-x86_64"
kernel = "/opt/kata/share/kata-containers/vmlinux.container"
image = "/opt/kata/share/kata-containers/kata-containers.img"

# Memory settings
default_memory = 2048  # MB
memory_slots = 10
default_maxmemory = 0

# CPU settings
default_vcpus = 1
default_maxvcpus = 0

# Security features
enable_iommu = false
enable_iommu_platform = false
"""


def tool(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=120)


class Guide(KataCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        tool("mount", "-t", "tmpfs", "kata-test", "/opt")  # of this mount namespace, see kata_case
        cls.addClassCleanup(tool, "umount", "-l", "/opt")
        tool(os.path.join(TREE, "tools/install"), "install", "--prefix", PREFIX, "--build", BUILD)
        cls.image = SHARE + "/kata-containers.img"
        if os.path.exists(cls.image):
            os.unlink(cls.image)
        cls.file = PREFIX + "/share/defaults/kata-containers/configuration.toml"
        with open(cls.file, "w", encoding="utf-8") as out:
            out.write(BLOCK)

    def run_it(self, *command):
        """What the command says, and the warnings of its start."""
        argv = [PREFIX + "/bin/kata", "--root", self.root, "run", "--rm", "--network", "none", "busybox"]
        env = {k: v for k, v in os.environ.items() if k != "KATA_CONF_FILE"}
        if os.path.exists("/etc/kata-containers/configuration.toml"):
            env["KATA_CONF_FILE"] = self.file
        done = subprocess.run([*argv, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120, check=False, env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, done.stderr

    def test_without_image(self):
        out, err = self.run_it("sh", "-c", "uname -s; awk '/MemTotal/ { print ($2 > 1900000) }' /proc/meminfo")
        self.assertEqual(out, "Linux\n1\n")
        lines = [line for line in err.splitlines() if "configuration:" in line]
        self.assertEqual(len(lines), 2, err)  # one for each path
        for name in (PREFIX + "/bin/qemu-system-x86_64", "/usr/"):
            self.assertIn(name, lines[0])
        for name in (self.image, SHARE + "/kata-containers-initrd.img"):
            self.assertIn(name, lines[1])
        self.assertNotIn("vmlinux", err)

    def test_with_image(self):
        """With a kernel that can start from it, it is the root; with another, a warning says which is."""
        tool(os.path.join(TREE, "guest/mkimage"), "--agent", os.path.join(BUILD, "agent/kata-agent"),
             "--out", self.image)
        self.addCleanup(os.unlink, self.image)
        with open(SHARE + "/kernel.info", encoding="ascii") as info:
            builtin = "modules=no" in info.read().split()
        out, err = self.run_it("dmesg")
        self.assertEqual("Mounted root" in out, builtin, out)
        self.assertEqual("make guest-kernel" in err, not builtin, err)

    def test_names_of_the_user(self):
        """A path that is not the usual one must be there."""
        other = os.path.join(self.root, "other.toml")
        with open(other, "w", encoding="utf-8") as out:
            out.write(BLOCK.replace("kata-containers.img", "mine.img"))
        done = subprocess.run([PREFIX + "/bin/kata", "--root", self.root, "--config", other, "run", "--rm",
                               "--network", "none", "busybox", "true"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn(SHARE + "/mine.img", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
