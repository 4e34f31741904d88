# SPDX-License-Identifier: Apache-2.0
"""When a root file system of the laboratory is made anew."""
import importlib.machinery
import importlib.util
import os
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DAY = 86400


def load():
    path = os.path.join(ROOT, "tests/lab/mkroot")
    loader = importlib.machinery.SourceFileLoader("mkroot", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("mkroot", loader))
    loader.exec_module(module)
    return module


class Keys(unittest.TestCase):
    def setUp(self):
        self.mkroot = load()

    def test_release_stays(self):
        self.assertEqual(self.mkroot.key_of("trixie", 0), self.mkroot.key_of("trixie", 90 * DAY))

    def test_moving_one_is_new_each_week(self):
        monday = 4 * DAY  # 1970-01-05
        self.assertEqual(self.mkroot.key_of("sid", monday), self.mkroot.key_of("sid", monday + 6 * DAY))
        self.assertNotEqual(self.mkroot.key_of("sid", monday), self.mkroot.key_of("sid", monday + 7 * DAY))

    def test_old_ones_go(self):
        now = 100 * DAY
        with tempfile.TemporaryDirectory() as base:
            for name, age in (("sid-old", 15), ("sid-used", 3), ("sid-now", 40), ("trixie-old", 90)):
                os.mkdir(os.path.join(base, name))
                os.utime(os.path.join(base, name), (now - age * DAY,) * 2)
            self.mkroot.remove_old(base, "trixie", os.path.join(base, "trixie-now"), now)
            self.mkroot.remove_old(base, "sid", os.path.join(base, "sid-now"), now)
            self.assertEqual(sorted(os.listdir(base)), ["sid-now", "sid-used", "trixie-old"])


if __name__ == "__main__":
    unittest.main()
