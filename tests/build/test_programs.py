# SPDX-License-Identifier: Apache-2.0
"""Test modules that do not end as they should."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from runner import programs  # noqa: E402
from runner.results import FAIL, PASS, Results  # noqa: E402

MODULE = """
import os, time, unittest
{mark}
class C(unittest.TestCase):
    def test_a(self):
        pass
    def test_b(self):
        {end}
    def test_c(self):
        pass
class D(unittest.TestCase):
    {last}
    def test_d(self):
        pass
"""


class Cut(unittest.TestCase):
    def play(self, **parts):
        results, lines = Results(None), []
        results.say = lines.append
        with tempfile.TemporaryDirectory() as where:
            path = os.path.join(where, "test_cut.py")
            with open(path, "w", encoding="ascii") as out:
                out.write(MODULE.format(**{"mark": "", "end": "pass", "last": "", **parts}))
            programs.run(results, "unit", path, {})
        names = [(name.rpartition("test_cut.py")[2], detail.strip().splitlines()[-1])
                 for _, name, detail in results.failures]
        return results.counts[PASS], results.counts[FAIL], names

    def test_whole(self):
        self.assertEqual(self.play(), (4, 0, []))

    def test_crash(self):
        """The tests behind it have not passed."""
        passed, failed, names = self.play(end="os._exit(3)")
        self.assertEqual((passed, failed), (1, 3))
        self.assertEqual(names[0], (": C.test_b", "ended early, status 3"))
        self.assertEqual(names[1:], [(f": {name}", "not run: its file has ended early, status 3")
                                     for name in ("C.test_c", "D.test_d")])

    def test_time_is_up(self):
        passed, failed, names = self.play(mark="TIMEOUT_S = 2", end="time.sleep(60)")
        self.assertEqual((passed, failed), (1, 3))
        self.assertEqual(names[0], (": C.test_b", "not ended within 2 s and was killed"))

    def test_between_tests(self):
        """No test has this name, so that no second try takes another for it."""
        last = "@classmethod\n    def setUpClass(cls):\n        os._exit(4)"
        passed, failed, names = self.play(last=last)
        self.assertEqual((passed, failed), (3, 2))
        self.assertEqual(names, [(" (between its tests)", "ended early, status 4"),
                                 (": D.test_d", "not run: its file has ended early, status 4")])


if __name__ == "__main__":
    unittest.main()
