# SPDX-License-Identifier: Apache-2.0
"""Configuration and monitors that are not what they should be: refused by name, in time."""
import os
import shutil
import subprocess
import unittest

from bad_case import GUEST_KERNEL, INITRD, BadCase
from kata_case import BIN, SLOWNESS

TIMEOUT_S = 400
KERNEL = ("Files.test_initrds Files.test_kernels Settings.test_kernel_parameters_that_break_the_guest "
          "Settings.test_kernel_that_ends_before_its_drivers Settings.test_microvm "
          "Settings.test_other_ways_to_share_files")
LAB = "full"
HERE = os.path.dirname(os.path.abspath(__file__))


def head(path, size):
    with open(path, "rb") as f:
        return f.read(size)


class Files(BadCase):
    """What the guest boots from."""

    def test_kernels(self):
        cases = (("/etc/passwd", "is no kernel"),
                 ("/bin/ls", "no kernel"), (self.file("cut", head(GUEST_KERNEL, 3000)), "cut off"),
                 (self.file("half", head(GUEST_KERNEL, os.path.getsize(GUEST_KERNEL) // 2)), "cut off"),
                 ("/etc", "no regular file"),
                 (self.file("empty"), "is empty"),
                 (os.path.join(self.root, "missing"), "No such file"))
        for path, word in cases:
            with self.subTest(kernel=path):
                self.refused(path, word, config=self.config({"kernel": path}))

    def test_initrds(self):
        cases = (("/etc/passwd", "no cpio archive"),
                 ("/etc", "no regular file"),
                 (self.file("empty"), "is empty"),
                 (os.path.join(self.root, "missing"), "No such file"),
                 (self.file("cut", head(INITRD, 4096)), "panic"))
        for path, word in cases:
            with self.subTest(initrd=path):
                self.refused(path, word, config=self.config({"initrd": path}))


class Settings(BadCase):
    def test_configuration_files(self):
        """Each names the file, the line and the key."""
        h = "[hypervisor.qemu]\n"
        cases = (("[[[", ":1:", "'['"), ("[nope]\n", ":1:", "nope"), (h + "nope = 1\n", ":2:", "nope: unknown"),
                 (h + 'default_memory = "much"\n', ":2:", "must be an integer"),
                 (h + "path = 7\n", ":2:", "must be a string"),
                 (h + 'machine_type = "pc"\n', ":2:", "q35, microvm"),
                 (h + "default_memory = 99999999999999999999\n", ":2:", "64 bits"),
                 (h + 'path = "' + "x" * 100000, ":2:", ""), ("\0\0\0", ":1:", ""))
        for text, *words in cases:
            with self.subTest(text=text[:40]):
                path = self.config(text=text)
                self.refused(path, *words, config=path)
        missing = os.path.join(self.root, "no.toml")
        self.refused(missing, "No such file", config=missing)
        self.refused("/etc", config="/etc")

    def without(self, capability, *args):
        """kata run by a root that lacks one, as in containers of others."""
        return subprocess.run(
            ["setpriv", "--bounding-set", "-" + capability, "--inh-caps", "-" + capability,
             os.path.join(BIN, "kata"), "--root", self.root, "run", "--rm", "--network", "none",
             "busybox", *args], capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=120 * SLOWNESS, check=False)

    def test_engine_that_is_no_program(self):
        programs = os.path.join(self.root, "opt/bin")
        for name in ("bin", "libexec"):
            shutil.copytree(os.path.join(os.path.dirname(BIN), name), os.path.join(self.root, "opt", name))
        engine = os.path.join(programs, "containerd-shim-kata-v2")
        for text, words in (("x", "ended with status 127"), ("#!/bin/sh\nkill -9 $$\n", "ended by signal 9")):
            with self.subTest(words=words):
                with open(engine, "w", encoding="ascii") as f:
                    f.write(text)
                done = subprocess.run([os.path.join(programs, "kata"), "--root", self.root, "run", "--rm",
                                       "--network", "none", "busybox", "true"], capture_output=True, text=True,
                                      stdin=subprocess.DEVNULL, timeout=60 * SLOWNESS, check=False)
                self.assertEqual(done.returncode, 125)
                self.one_line(done.stderr, engine, words)
        self.assertEqual(self.containers(), [])

    def test_root_without_a_capability(self):
        done = self.without("sys_admin", "true")
        self.assertEqual(done.returncode, 125)
        self.one_line(done.stderr, "start the engine", "CAP_SYS_ADMIN is needed")
        done = self.without("mknod", "grep", " / ", "/proc/mounts")  # virtiofsd cannot do without
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(" 9p ", done.stdout)

    def test_no_room_in_run(self):
        script = ("mount -t tmpfs -o size=4k none /run && exec \"$@\"")
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", os.path.join(BIN, "kata"), "--root",
             self.root, "run", "--rm", "busybox", "true"], capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=60 * SLOWNESS, check=False)
        self.assertEqual(done.returncode, 125)
        self.one_line(done.stderr, "No space left on device")

    def test_host_without_memory(self):
        """A machine is not started to be killed, or to slow all others down."""
        meminfo = self.file("meminfo", "MemTotal: 1048576 kB\nMemAvailable: 131072 kB\n")
        subprocess.run(["mount", "--bind", meminfo, "/proc/meminfo"], check=True)
        try:
            self.refused("128 MiB of memory available", "end others first")
        finally:
            subprocess.run(["umount", "/proc/meminfo"], check=True)
        self.works()

    def test_what_this_host_or_version_cannot_do(self):
        cases = (({"transport": "vsock"}, "vsock", "/dev/vhost-vsock"),
                 ({"accel": "kvm"}, "KVM is demanded"),
                 ({"shared_fs": "none"}, "shared_fs"),
                 ({"seccomp_sandbox": "nonsense"}, "-sandbox nonsense"),
                 ({"entropy_source": "/dev/hwrng"}, "entropy_source", "/dev/hwrng"),
                 ({"cpu_features": "nonsense"}, "nonsense"),
                 ({"machine_accelerators": "nonsense=1"}, "nonsense"),
                 ({"virtio_fs_daemon": "/missing/virtiofsd"}, "/missing/virtiofsd"),
                 ({"virtio_fs_daemon": "/bin/false", "shared_fs": "virtio-fs"}, "/bin/false"))
        usable = {"vsock": "/dev/vhost-vsock", "kvm": "/dev/kvm"}
        for keys, *words in cases:
            with self.subTest(keys=keys):
                value = next(iter(keys.values()))
                if value in usable and self.can_use(keys, usable[value]):
                    continue
                self.refused(*words, config=self.config(keys))

    def can_use(self, keys, device):
        """Where the host has it, it must work instead."""
        done = subprocess.run([os.path.join(BIN, "kata"), "--root", self.root, "--config",
                               self.config(keys), "run", "--rm", "--network", "none", "busybox",
                               "true"], capture_output=True, timeout=120, check=False)
        if done.returncode == 0:
            self.assertTrue(os.path.exists(device))
        return done.returncode == 0

    def test_other_ways_to_share_files(self):
        self.works(config=self.config({"shared_fs": "virtio-9p"}))

    def test_microvm(self):
        """With virtio-fs, where it needs modern devices, and no timer but the APIC's."""
        self.works(config=self.config({"machine_type": "microvm"}, {"reconnect_timeout_ms": 20000}))

    def test_kernel_parameters_that_break_the_guest(self):
        self.refused("panic", GUEST_KERNEL, config=self.config({"kernel_params": "rdinit=/x init=/x"}))

    def test_kernel_that_ends_before_its_drivers(self):
        """So early that it does not know yet what `panic=` says: it stays, and its last words are there."""
        early = {"kernel_params": "memmap=exactmap memmap=640K@0"}
        patience_ms = 3000 if self.runs_on_kvm() else 1500  # ten times as long where it is emulated
        self.refused("Kernel panic", "Invalid user supplied memory map", GUEST_KERNEL,
                     config=self.config(early, {"reconnect_timeout_ms": int(patience_ms * SLOWNESS)}))


class Monitors(BadCase):
    """Programs that are no hypervisor, and hypervisors that lie."""

    def prefix(self):
        """A directory like /opt/x/bin, readable for the monitor's own user."""
        os.chmod(self.root, 0o755)
        path = os.path.join(self.root, "opt", "bin")
        os.makedirs(path, exist_ok=True)
        return path

    def test_other_programs(self):
        sleeper = os.path.join(self.prefix(), "sleeper")
        with open(sleeper, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nexec sleep 600\n")
        os.chmod(sleeper, 0o755)
        short = {"reconnect_timeout_ms": 1000}
        for path, word in (("/missing/bin/qemu", "No such file"), ("/bin/false", "status 1"),
                           ("/bin/true", "status 0"), ("/bin/cat", "cat"), ("/etc/passwd", ""),
                           ("/usr", "/usr"), (sleeper, "")):
            with self.subTest(path=path):
                self.refused(path, word, config=self.config({"path": path}, short), within=15)

    def test_wrong_answers(self):
        words = {"silent": "timed out", "rubbish": "QMP", "longline": "QMP", "wrongid": "QMP",
                 "refuses": "today", "dies": "words of a dying monitor", "events": "timed out",
                 "deaf": "does not answer", "stops": "KVM internal error. Suberror: 1"}
        for mode, word in words.items():
            with self.subTest(mode=mode):
                path = os.path.join(self.prefix(), f"qemu-{mode}")
                shutil.copy(os.path.join(HERE, "fake_qemu.py"), path)
                os.chmod(path, 0o755)
                # ten times as long for the guest, without KVM
                self.refused(word, config=self.config({"path": path}, {"reconnect_timeout_ms": 1000}),
                             within=25)


if __name__ == "__main__":
    unittest.main(verbosity=2)
