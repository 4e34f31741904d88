# SPDX-License-Identifier: Apache-2.0
"""The second try of VM tests, without a VM."""
import contextlib
import io
import json
import os
import sys
import threading
import unittest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "vm")]
import commands  # noqa: E402
from runner import parallel, programs, secondtry, worker  # noqa: E402
from runner.results import FAIL, PASS, Results  # noqa: E402

PANIC = "x\nthe virtual machine ended (guest kernel panic): Kernel panic\ny"
NAME = "tests/vm/test_x.py (tuned): Class.test_a (n=1)"


class SecondTry(unittest.TestCase):
    def play(self, first, later):
        asked, lines = [], []
        results = Results(None)
        results.say = lines.append

        def run(held, suite, _path, _env, _note="", among=()):
            self.assertEqual(among, ())
            asked.append(held.only)
            for name, status, detail in (first if len(asked) == 1 else later):
                held.add(suite, name, status, 1, detail)

        self.addCleanup(setattr, programs, "run", programs.run)
        programs.run = run
        told = io.StringIO()
        with contextlib.redirect_stdout(told):  # as the worker of a file tells its caller
            secondtry.run(worker.Lines(""), "vm", "path", {}, " (tuned)")
        for line in told.getvalue().splitlines():
            parallel.take(results, threading.Lock(), json.loads(line))
        return (results.counts[PASS], results.counts[FAIL]), asked, "\n".join(lines)

    def test_a_panic_is_tried_again(self):
        counts, asked, said = self.play([("other", PASS, ""), (NAME, FAIL, PANIC)],
                                        [(NAME, PASS, "")])
        self.assertEqual((counts, asked[1:]), ((2, 0), ["Class.test_a"]))
        self.assertIn("SECOND TRY; first: the virtual machine ended (guest kernel panic)", said)

    def test_a_crash_of_the_emulator_is_tried_again(self):
        crash = "the virtual machine ended (monitor killed): qemu was killed by signal 11"
        counts, asked, said = self.play([(NAME, FAIL, crash)], [(NAME, PASS, "")])
        self.assertEqual((counts, len(asked)), ((1, 0), 2))
        self.assertIn("signal 11", said)

    def test_once(self):
        for later in ([(NAME, FAIL, PANIC)], []):
            counts, asked, _ = self.play([(NAME, FAIL, PANIC)], later)
            self.assertEqual((counts, len(asked)), ((0, 1), 2))

    def test_another_failure_counts(self):
        counts, asked, _ = self.play([(NAME, FAIL, "1 != 0")], [(NAME, PASS, "")])
        self.assertEqual((counts, len(asked)), ((0, 1), 1))

    def test_words_beside_the_exception_are_none(self):
        """What other tests of the file printed, and the line of the program that failed."""
        detail = (PANIC + "\nTraceback (most recent call last):\n  File \"x.py\", line 1, in test_a\n"
                  "    self.refused(\"guest kernel panic\")\nAssertionError: 1 != 0\n")
        counts, asked, _ = self.play([(NAME, FAIL, detail)], [(NAME, PASS, "")])
        self.assertEqual((counts, len(asked)), ((0, 1), 1))
        counts, asked, _ = self.play([(NAME, FAIL, detail.replace("1 != 0", PANIC))], [(NAME, PASS, "")])
        self.assertEqual((counts, len(asked)), ((1, 0), 2))

    def test_words_of_the_last_command(self):
        """A test that compares exit statuses only says what the command wrote."""

        class Case(unittest.TestCase):
            failureException = commands.Failure
            last = "true"

            def runTest(self):
                commands.run(["sh", "-c", "echo guest kernel panic >&2; exit 125"])
                self.assertEqual(commands.run(["sh", "-c", self.last]).returncode, 137)

        for last, chance in (("true", False), ("echo guest kernel panic >&2; exit 125", True)):
            Case.last = last
            result = Case().run()
            self.assertEqual(secondtry.is_chance(result.failures[0][1]), chance, result.failures)

    def test_parts_of_a_test_go_together(self):
        """The machine of one part died, and the others found what it had left."""
        parts = [(NAME.replace("n=1", f"n={i}"), FAIL, PANIC if i == 2 else "exists already")
                 for i in range(4)]
        counts, asked, said = self.play(parts, [(NAME, PASS, "")])
        self.assertEqual((counts, asked[1:]), ((1, 0), ["Class.test_a"]))
        self.assertIn("n=2", said)
        counts, asked, _ = self.play(parts, [(NAME, FAIL, "exists already")])
        self.assertEqual((counts, len(asked)), ((0, 4), 2))

    def test_many_are_no_chance(self):
        counts, asked, _ = self.play([(f"f: C.t{i}", FAIL, PANIC) for i in range(3)], [])
        self.assertEqual((counts, len(asked)), ((0, 3), 1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
