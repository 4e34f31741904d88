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
import time
import unittest

from kata_case import BIN, BUILD, SLOWNESS
from kvm_case import EMULATES, KernelCase, OwnKvm, run

KERNEL = "any"
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


def programs():
    """Of all processes of this test's namespace but this one."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) != os.getpid():
                found.append(os.path.basename(os.readlink(f"/proc/{pid}/exe")))
        except OSError:
            pass
    return found


def works_here():
    return subprocess.run([ACCEL_TOOL], capture_output=True, timeout=30, check=False).returncode == 0


class Choice(OwnKvm):
    """What is chosen is read from the command line of the monitor, which then boots nothing."""

    def setUp(self):
        super().setUp()
        self.told = self.monitor(MONITOR)
        self.works_here = works_here()

    def chosen(self, accel="auto"):
        """The acceleration a monitor was told, or why there was none."""
        config = self.config({"accel": accel, "path": self.told})
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


# One whose machines with KVM end badly: fake_qemu.py, which goes by its name.
FAKE = """#!/usr/bin/bash
case "$*" in *"-accel kvm"*) exec "${{0%/*}}/qemu-{mode}" "$@" ;; esac
exec /usr/bin/qemu-system-x86_64 "$@"
"""


class Kernels(KernelCase):
    """What the user configures where guest code does not run: tried, and the outcome kept."""

    def faking(self, mode):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake_qemu.py"),
                  encoding="utf-8") as f:
            self.file(f"opt/bin/qemu-{mode}", f.read(), 0o755)
        return self.monitor(FAKE.format(mode=mode))

    def test_one_that_boots(self):
        self.no_kvm()
        monitor = self.monitor(EMULATES)
        tried, line = self.choice(path=monitor)
        self.assertTrue(tried)
        for words in ("acceleration: kvm (", "KVM_GET_API_VERSION", self.kernel,
                      "boots all the same: its agent answered after"):
            self.assertIn(words, line)
        self.assertNotIn("found before", line)
        tried, line = self.choice(path=monitor, accel="kvm")
        self.assertFalse(tried)
        self.assertIn("found before", line)
        self.assertIn("acceleration: kvm (", line)

    def test_one_that_stops(self):
        self.no_kvm()
        monitor = self.faking("stops")
        for expected in (True, False):
            tried, line = self.choice(path=monitor)
            self.assertEqual(tried, expected)
            for words in ("software emulation (tcg), KVM is unusable", "does not boot either",
                          "KVM internal error. Suberror: 1"):
                self.assertIn(words, line)
        os.utime(self.kernel)
        self.assertTrue(self.choice(path=monitor)[0])
        demanded = {"kernel": self.kernel, "path": monitor, "accel": "kvm"}
        self.refused("KVM is demanded but unusable here", "KVM_GET_API_VERSION", self.kernel,
                     "KVM internal error", config=self.config(demanded))

    def test_one_whose_monitor_ends(self):
        """By the host, which says nothing about the kernel: tried each time."""
        self.no_kvm()
        monitor = self.faking("leaves")
        for _ in range(2):
            tried, line = self.choice(path=monitor)
            self.assertTrue(tried)
            self.assertRegex(line, "does not boot either: (monitor (failed|killed)|start qemu)")

    def test_one_that_spins(self):
        self.no_kvm()
        monitor = self.faking("spins")
        for expected in (True, False):
            tried, line = self.choice(path=monitor, within=120)
            self.assertEqual(tried, expected)
            # on a machine that is too busy the clock is the first
            self.assertRegex(line, "20 s of processor time|does not answer")
        env = subprocess.run([os.path.join(BIN, "kata-runtime"), "--config",
                              os.path.join(self.root, "files/configuration.toml"), "env"],
                             capture_output=True, text=True, timeout=60, check=True).stdout
        self.assertRegex(env, 'AccelerationReason = ".*does not boot either: .*(processor time|does not answer)')

    def test_a_start_that_is_ended(self):
        """Ends the trial and its machine with it, and says nothing about the kernel."""
        self.no_kvm()
        config = self.config({"kernel": self.kernel, "path": self.faking("spins")})
        process = self.start("run", "--rm", "--network", "none", "busybox", "true", config=config)
        end = time.monotonic() + 30 * SLOWNESS
        while not any(name.startswith("python3") for name in programs()):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        process.terminate()
        self.assertNotEqual(process.wait(30 * SLOWNESS), 0)
        process.communicate()
        while any(name.startswith("python3") for name in programs()):  # its machine
            self.assertLess(time.monotonic(), end + 30 * SLOWNESS)
            time.sleep(0.05)
        self.assertEqual([name for name in os.listdir("/run/kata") if name.startswith("accel.") and name.endswith(".0")], [])

    def test_where_the_monitor_does_not_start(self):
        """Which may be for want of memory: tried each time."""
        self.no_kvm()
        for _ in range(2):
            tried, line = self.choice()
            self.assertTrue(tried)
            self.assertIn("does not boot either: start qemu", line)

    def test_the_installed_kernel_is_not_tried(self):
        self.no_kvm()
        tried, line = self.choice(kernel="")
        self.assertFalse(tried)
        self.assertIn("software emulation", line)
        self.assertNotIn("vmlinux", line)

    def test_on_real_kvm(self):
        """The page is said to fail where it does not: the boot is believed."""
        if not works_here():
            self.skipTest("needs a KVM that runs guests")
        self.choice()
        verdicts = os.listdir("/run/kata")
        path = os.path.join("/run/kata", [name for name in verdicts if "accel." in name][0])
        with open(path, encoding="ascii") as f:
            text = f.read()
        self.file("verdict", text.replace("kvm=yes", "kvm=no").replace("why=", "why=not "))
        shutil.copyfile(os.path.join(self.root, "files", "verdict"), path)
        tried, line = self.choice()
        self.assertTrue(tried)
        self.assertIn("acceleration: kvm (not guest code ran", line)


if __name__ == "__main__":
    unittest.main()
