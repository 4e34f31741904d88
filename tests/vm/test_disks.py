# SPDX-License-Identifier: Apache-2.0
"""containerd's blockfile snapshotter: root file systems that are files with a file system.

containerd has it from 1.7 on; KATA_TEST_CONTAINERD names a directory with one.
"""
import os
import subprocess
import unittest

from containerd_case import IMAGE, RUNTIME, ContainerdCase
from kata_case import BUSYBOX

LAB = "full"


class BlockFile(ContainerdCase):
    @classmethod
    def prepare(cls):
        scratch = os.path.join(cls.root, "scratch")
        with open(scratch, "wb") as f:
            f.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", scratch], check=True, timeout=60)
        cls.more = (f'[plugins."io.containerd.snapshotter.v1.blockfile"]\n  fs_type = "ext4"\n'
                    f'  root_path = "{cls.root}/disks"\n  scratch_file = "{scratch}"\n'
                    '  mount_options = []\n  recreate_scratch = true\n')

    @classmethod
    def load_images(cls):
        if "blockfile" not in cls.ok("plugins", "ls"):
            raise unittest.SkipTest("this containerd has no blockfile snapshotter: see "
                                    "KATA_TEST_CONTAINERD")
        # version 2 unpacks elsewhere, where this snapshotter must be configured, unless told not to
        local = ["--local"] if "--local" in cls.ok("image", "import", "--help") else []
        cls.ok("image", "import", *local, "--snapshotter", "blockfile", BUSYBOX)

    def run_args(self, name, *command, options=()):
        return ("run", "--runtime", RUNTIME, "--snapshotter", "blockfile", *options, IMAGE, name,
                *command)

    def test_root(self):
        out = self.run_ok("d", "sh", "-c", "grep ' / ' /proc/mounts; echo x >/file; cat /file")
        self.assertRegex(out, r"^/dev/vd\w / ext4 rw.*\nx\n$")

    def test_each_has_its_own(self):
        for name in ("one", "two"):
            self.detached(name)
            self.ok("task", "exec", "--exec-id", "e", name, "sh", "-c", f"echo {name} >/who; sync")
        for name in ("one", "two"):
            self.assertEqual(self.ok("task", "exec", "--exec-id", "f", name, "cat", "/who"),
                             name + "\n")
            self.remove(name)

    def test_read_only(self):
        done = self.ctr(*self.run_args("r", "touch", "/x", options=("--rm", "--read-only")))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("Read-only", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
