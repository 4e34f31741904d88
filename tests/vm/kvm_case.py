# SPDX-License-Identifier: Apache-2.0
"""Hosts with another KVM than this one, and monitors that behave as theirs would."""
import json
import os
import shutil
import stat
import subprocess
import tempfile

from bad_case import GUEST_KERNEL, BadCase

IN_LAB = os.environ.get("KATA_LAB") == "1"

# A monitor that is told KVM and emulates: to its caller, a host on which this kernel runs. The kernel
# gets the words that an emulated one needs.
EMULATES = """#!/usr/bin/bash
for word in "$@"; do
	[ "$last" != -accel ] || word=${word/kvm*/tcg}
	[ "$last" != -cpu ] || word=max
	[ "$last" != -append ] || word="no_timer_check init_on_alloc=1 $word"
	words+=("$word")
	last=$word
done
exec /usr/bin/qemu-system-x86_64 "${words[@]}"
"""


def run(*argv):
    subprocess.run(argv, check=True, timeout=30)


class OwnKvm(BadCase):
    """With a /dev of the test's own, in this process's mount namespace, and no earlier verdict."""

    def setUp(self):
        os.chmod(self.root, 0o755)  # the monitor's own user looks for it there
        self.forget()
        super().setUp()

    @staticmethod
    def forget():
        shutil.rmtree("/run/kata", ignore_errors=True)

    def monitor(self, text):
        return self.file("opt/bin/monitor", text, 0o755)

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


class KernelCase(OwnKvm):
    """A kernel the user has configured, and a /dev/kvm that opens and runs nothing."""

    def setUp(self):
        super().setUp()
        self.kernel = self.file("vmlinux")
        shutil.copyfile(GUEST_KERNEL, self.kernel)

    def no_kvm(self):
        """What is tried then boots as `EMULATES` does it."""
        if IN_LAB:
            self.skipTest("boots under emulation, which takes minutes in an emulated machine")
        self.own_dev()
        os.mknod("/dev/kvm", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    def choice(self, within=60, **keys):
        """The line of the log about the acceleration, of a container that ran."""
        config = self.config({"kernel": self.kernel, **keys})
        done = self.call("run", "--name", "one", "--network", "none", "busybox", "echo", "well",
                         config=config, within=within)
        self.assertEqual((done.returncode, done.stdout), (0, "well\n"), done.stderr)
        directory = json.loads(self.kata("inspect", "one").stdout)[0]["directory"]
        with open(os.path.join(directory, "shim.log"), encoding="utf-8") as f:
            lines = [line for line in f if "acceleration: " in line]
        self.assertEqual(self.kata("rm", "one").returncode, 0)
        tried = [line for line in lines if "trying kernel" in line]
        return bool(tried), lines[-1]
