# SPDX-License-Identifier: Apache-2.0
"""tools/configure in a tree of a project of its own."""

import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Configure(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top)

    def make_tree(self, name):
        tree = os.path.join(self.top, name)
        os.makedirs(os.path.join(tree, "tools"))
        shutil.copy(os.path.join(ROOT, "tools/configure"), os.path.join(tree, "tools"))
        with open(os.path.join(tree, "meson.build"), "w", encoding="ascii") as out:
            out.write("project('small')\n")
        return tree

    def configure(self, tree):
        return subprocess.run(["tools/configure", "build/host"], cwd=tree, timeout=120, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode()

    def test_once(self):
        tree = self.make_tree("a \"trée\"")
        self.assertIn("Source dir", self.configure(tree))
        self.assertEqual(self.configure(tree), "")

    def test_moved(self):
        tree, moved = self.make_tree("old"), os.path.join(self.top, "new")
        self.configure(tree)
        other = os.path.join(tree, "build/kept")
        open(other, "w", encoding="ascii").close()
        os.rename(tree, moved)
        said = self.configure(moved)
        self.assertIn("build/host was configured for another place: making it anew", said)
        self.assertIn(f"Source dir: {moved}\n", said)
        self.assertTrue(os.path.exists(os.path.join(moved, "build/kept")))
        self.assertEqual(self.configure(moved), "")


if __name__ == "__main__":
    unittest.main()
