# SPDX-License-Identifier: Apache-2.0
"""The guest's root on a disk, in place of an initrd: `image`, as `make guest-image` makes it."""
import os
import subprocess
import unittest

from bad_case import BadCase
from kata_case import BUILD, TREE
from kvm_case import EMULATES, KernelCase

LAB = "full"
TIMEOUT_S = 300


def flavour():
    with open(os.path.join(BUILD, "guest", "kernel.info"), encoding="ascii") as f:
        return dict(line.strip().split("=", 1) for line in f if "=" in line)["flavour"]


def make_image(path):
    subprocess.run([os.path.join(TREE, "guest/mkimage"), "--agent",
                    os.path.join(BUILD, "agent/kata-agent"), "--out", path],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


class Image(BadCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.image = os.path.join(cls.root, "image")
        make_image(cls.image)

    def run_on(self, settings, *command):
        done = self.kata("--config", self.config(settings), "run", "--rm", "--network", "none", "busybox",
                         *command)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    @unittest.skipIf(flavour() != "tuned", "the distribution's kernel has the disk's driver as a module")
    def test_runs(self):
        for machine in ("q35", "microvm"):
            with self.subTest(machine=machine):
                out = self.run_on({"image": self.image, "machine_type": machine}, "sh", "-c",
                                  "dmesg | grep 'Mounted root'; hostname; id -u")
                self.assertIn("ext4 filesystem) readonly", out)
                self.assertTrue(out.endswith("\n0\n"), out)
        before = os.stat(self.image).st_mtime_ns
        self.run_on({"image": self.image}, "true")
        self.assertEqual(os.stat(self.image).st_mtime_ns, before)

    @unittest.skipIf(flavour() != "tuned", "the distribution's kernel has the disk's driver as a module")
    def test_partitioned(self):
        """As upstream's are: the first partition is the root."""
        path = os.path.join(self.root, "partitioned")
        with open(self.image, "rb") as f:
            data = f.read()
        entry = bytes((0, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff)) + (2048).to_bytes(4, "little") + \
            (len(data) // 512).to_bytes(4, "little")
        with open(path, "wb") as f:
            f.write(bytes(446) + entry + bytes(48) + b"\x55\xaa" + bytes((1 << 20) - 512) + data)
        self.assertIn("readonly on device 254:1", self.run_on({"image": path}, "dmesg"))

    @unittest.skipIf(flavour() == "tuned", "the tuned kernel has the disk's driver built in")
    def test_kernel_with_modules(self):
        self.refused(self.image, "make guest-kernel", config=self.config({"image": self.image}))

    def test_wrong_images(self):
        for settings, words in (({"image": os.path.join(self.root, "missing")}, ("No such file",)),
                                ({"image": "/etc"}, ("no regular file",)),
                                ({"image": self.file("short", b"x" * 100)}, ("too short",)),
                                ({"image": self.file("noise", b"x" * 5000)}, ("rootfs_type", "ext4")),
                                ({"image": self.image, "rootfs_type": "erofs"}, ("rootfs_type", "erofs")),
                                ({"image": self.image, "initrd": os.path.join(BUILD, "guest/initrd")},
                                 ("image and initrd",))):
            with self.subTest(settings=settings):
                self.refused(*words, config=self.config(settings))


class Trial(KernelCase):
    @unittest.skipIf(flavour() != "tuned", "the distribution's kernel has the disk's driver as a module")
    def test_kernel_of_an_image(self):
        """A kernel that is tried under KVM finds the root it will have."""
        image = os.path.join(self.root, "image")
        make_image(image)
        self.no_kvm()
        tried, line = self.choice(path=self.monitor(EMULATES), image=image)
        self.assertTrue(tried)
        self.assertIn("boots all the same", line)


if __name__ == "__main__":
    unittest.main(verbosity=2)
