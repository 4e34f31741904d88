# SPDX-License-Identifier: Apache-2.0
"""What file systems of containers can do is what docs/volumes.md says."""
import os
import re
import subprocess
import tempfile
import unittest

from bad_case import BadCase
from kata_case import BUILD, TREE

LAB = "full"
PROBE = os.path.join(BUILD, "host/tests/vm/file_probe")


def documented():
    """{what: {share: whether it must work}}"""
    with open(os.path.join(TREE, "docs/volumes.md"), encoding="utf-8") as f:
        rows = re.findall(r"^\| (.+?) \| (yes|no) \| (yes|no) \|$", f.read(), re.M)
    return {what: {"virtio-fs": one == "yes", "virtio-9p": other == "yes"} for what, one, other in rows}


def parse(text):
    return dict(line.split(": ", 1) for line in text.splitlines())


class Files(BadCase):
    def probe(self, share):
        """{directory: {what: answer}} for a volume and the root file system."""
        config = self.config({"shared_fs": share})
        with tempfile.TemporaryDirectory(dir=self.root) as volume:
            done = self.kata("--config", config, "run", "--rm", "--network", "none", "-v",
                             f"{PROBE}:/probe:ro", "-v", f"{volume}:/volume", "busybox", "sh", "-c",
                             "for d in /volume /root; do echo \"= $d\"; mkdir $d/new; /probe $d/new; "
                             "done")
        self.assertEqual(done.returncode, 0, done.stderr)
        parts = re.split(r"^= (.*)\n", done.stdout, flags=re.M)[1:]
        return {name: parse(text) for name, text in zip(parts[::2], parts[1::2])}

    def test_local_file_system(self):
        """The probes themselves are right: one that cannot work anywhere would prove nothing."""
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.root], check=True, capture_output=True,
                              text=True).stdout.strip()
        if kind not in ("ext2/ext3", "xfs", "btrfs"):
            self.skipTest(f"'{self.root}' is on {kind}, which lacks some of it")
        out = self.local()
        self.assertEqual(list(parse(out)), list(documented()))
        self.assertEqual([line for line in out.splitlines() if not line.endswith(": yes")], [])

    def local(self):
        with tempfile.TemporaryDirectory(dir=self.root) as here:
            return subprocess.run([PROBE, here], check=True, capture_output=True, text=True).stdout

    def test_shares(self):
        """No share can do what the file system below it cannot (a tmpfs, in the laboratory)."""
        rows, local = documented(), parse(self.local())
        for share in ("virtio-fs", "virtio-9p"):
            found = self.probe(share)
            for where in ("/volume", "/root"):
                with self.subTest(share=share, where=where):
                    self.assertEqual(list(found[where]), list(rows))
                    wrong = [f"{what}: {answer}" for what, answer in found[where].items()
                             if rows[what][share] and answer != "yes" and local[what] == "yes"]
                    self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
