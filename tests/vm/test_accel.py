# SPDX-License-Identifier: Apache-2.0
"""The choice of acceleration, as a user meets it, in every situation a host can be in.

Each test makes a /dev of its own in this process's mount namespace, so that /dev/kvm can be
missing, forbidden, or something else. What KVM really does here is asked of accel_tool.
"""
import os
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

from bad_case import BadCase
from kata_case import BUILD

LAB = "quick any-accel"
TIMEOUT_S = 400
ACCEL_TOOL = os.path.join(BUILD, "host/tests/vm/accel_tool")
INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu vme de pse tsc msr pae mce cx8 sse sse2 ht syscall nx lm{}
"""
# A monitor that says what it was told and ends.
MONITOR = """#!/usr/bin/sh
for word in "$@"; do
	[ "$last" != -accel ] || echo "told to use ${word%%,*}" >&2
	last=$word
done
exit 3
"""
AMD = INTEL.replace("GenuineIntel", "AuthenticAMD").replace("cpu family\t: 6", "cpu family\t: 25")


def run(*argv):
    subprocess.run(argv, check=True, timeout=30)


class Choice(BadCase):
    """What is chosen is read from the command line of the monitor, which then boots nothing."""

    def setUp(self):
        os.chmod(self.root, 0o755)
        self.monitor = self.file("opt/bin/qemu-told", MONITOR, 0o755)
        self.works_here = subprocess.run([ACCEL_TOOL], capture_output=True, timeout=30,
                                         check=False).returncode == 0
        self.forget()
        super().setUp()

    @staticmethod
    def forget():
        """The verdict of an earlier look."""
        shutil.rmtree("/run/kata", ignore_errors=True)

    def mount(self, *argv):
        """For this test; the namespace is this process's own."""
        run("mount", *argv)
        self.addCleanup(run, "umount", "--lazy", argv[-1])

    def own_dev(self, options=""):
        """A /dev like the real one, without kvm."""
        new = tempfile.mkdtemp(dir=self.root)
        run("mount", "-t", "tmpfs", "-o", "mode=755" + options, "dev", new)
        for name in os.listdir("/dev"):
            old, path = os.path.join("/dev", name), os.path.join(new, name)
            status = os.lstat(old)
            if stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(old), path)
            elif stat.S_ISDIR(status.st_mode):
                os.mkdir(path)
                run("mount", "--rbind", old, path)
            elif name != "kvm":
                with open(path, "wb"):
                    pass
                run("mount", "--bind", old, path)
        run("mount", "--rbind", new, "/dev")
        self.addCleanup(run, "umount", "--lazy", new)
        self.addCleanup(run, "umount", "--lazy", "/dev")

    def chosen(self, accel="auto"):
        """The acceleration a monitor was told, or why there was none."""
        config = self.config({"accel": accel, "path": self.monitor})
        done = self.call("run", "--rm", "--network", "none", "busybox", "true", config=config)
        self.assertEqual(done.returncode, 125, done.stderr)
        self.one_line(done.stderr)
        told = re.search(r"told to use (\w+)", done.stderr)
        return told.group(1) if told else done.stderr

    def unusable(self, *words):
        """Not chosen by itself; refused with the reason where it is demanded."""
        self.assertEqual(self.chosen(), "tcg")
        refusal = self.chosen("kvm")
        for word in ("KVM is demanded but unusable here", *words):
            self.assertIn(word, refusal)
        self.assertEqual(self.chosen("tcg"), "tcg")

    def test_as_it_is_here(self):
        """Chosen exactly where it runs a guest's code, and believed the second time too."""
        for _ in range(2):
            self.assertEqual(self.chosen(), "kvm" if self.works_here else "tcg")
        self.assertEqual(self.chosen("tcg"), "tcg")
        demanded = self.chosen("kvm")
        self.assertTrue(demanded == "kvm" if self.works_here else
                        "KVM is demanded but unusable here" in demanded, demanded)

    def test_no_device(self):
        self.own_dev()
        self.unusable("/dev/kvm", "No such file")

    def test_no_permission(self):
        """Which even root does not have for a node on a file system without devices."""
        self.own_dev()
        forbidden = os.path.join(self.root, "forbidden")
        os.makedirs(forbidden, exist_ok=True)
        self.mount("-t", "tmpfs", "-o", "nodev", "forbidden", forbidden)
        os.mknod(os.path.join(forbidden, "kvm"), stat.S_IFCHR | 0o666, os.makedev(10, 232))
        with open("/dev/kvm", "wb"):
            pass
        self.mount("--bind", os.path.join(forbidden, "kvm"), "/dev/kvm")
        self.unusable("/dev/kvm", "Permission denied")

    def test_another_device_by_that_name(self):
        self.own_dev()
        os.mknod("/dev/kvm", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        self.unusable("KVM_GET_API_VERSION")

    def test_no_device_node(self):
        self.own_dev()
        os.mkdir("/dev/kvm")
        self.unusable("/dev/kvm", "Is a directory")

    def test_what_the_processor_says_decides_nothing(self):
        """A nested host may have the flag and no KVM, or KVM and no flag."""
        for text in (INTEL.format(" vmx"), INTEL.format(" hypervisor"), AMD.format(" svm"),
                     AMD.format(" hypervisor"), ""):
            with self.subTest(text=text[-20:]):
                self.forget()
                path = self.file("cpuinfo", text)
                run("mount", "--bind", path, "/proc/cpuinfo")
                try:
                    self.assertEqual(self.chosen(), "kvm" if self.works_here else "tcg")
                finally:
                    run("umount", "/proc/cpuinfo")


if __name__ == "__main__":
    unittest.main()
