# SPDX-License-Identifier: Apache-2.0
"""The second try of the laboratory's tests, without a laboratory."""
import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from runner import labtests, programs  # noqa: E402
from runner.results import FAIL, PASS, Results  # noqa: E402


def record(name, status, detail="x\nthe virtual machine ended (guest reset): guest reset\ny"):
    return json.loads(json.dumps({"name": name, "facts": "kvm", "status": status, "seconds": 1,
                                  "detail": detail, "count": 1}))


class SecondTry(unittest.TestCase):
    def play(self, first, later):
        """Runs a round whose laboratory gives `first`, then `later` for each plan of one test."""
        plans, lines = [], []
        results = Results(None)
        results.say = lines.append

        def attempt(one, plan, _limit_s):
            plans.append(plan)
            for row in (first if len(plans) == 1 else later):
                one.take(row)
            return 0, ""

        self.addCleanup(setattr, labtests.Round, "attempt", labtests.Round.attempt)
        labtests.Round.attempt = attempt
        labtests.Round(results, "", [], []).run({"files": [], "commands": [
            {"name": "vm-vhost"}], "only": ""}, 10)
        return results.counts, plans, "\n".join(lines)

    NAME = "tests/vm/test_kata.py: Run.test_cpus (n=1)"

    def test_passes_the_second_time(self):
        counts, plans, said = self.play([record(self.NAME, FAIL)],
                                        [record(self.NAME, PASS)])
        self.assertEqual((counts[PASS], counts[FAIL]), (1, 0))
        self.assertIn("SECOND TRY; first: the virtual machine ended (guest reset)", said)
        self.assertEqual(plans[1]["only"], "Run.test_cpus")
        self.assertTrue(plans[1]["files"][0].endswith("tests/vm/test_kata.py"))

    def test_fails_again(self):
        for later in ([record(self.NAME, FAIL)], [], [record(self.NAME, PASS), record("x", FAIL)]):
            counts, _, _ = self.play([record(self.NAME, FAIL)], later)
            self.assertEqual((counts[PASS], counts[FAIL]), (0, 1))

    def test_another_failure_counts(self):
        counts, plans, _ = self.play([record(self.NAME, FAIL, "1 != 0")], [record(self.NAME, PASS)])
        self.assertEqual((counts[PASS], counts[FAIL], len(plans)), (0, 1, 1))

    def test_parts_of_a_test_go_together(self):
        parts = [record(self.NAME, FAIL), record(self.NAME.replace("n=1", "n=2"), FAIL, "exists already")]
        counts, plans, _ = self.play(parts, [record(self.NAME, PASS)])
        self.assertEqual((counts[PASS], counts[FAIL], len(plans)), (1, 0, 2))
        counts, _, _ = self.play(parts, [record(self.NAME, FAIL)])
        self.assertEqual((counts[PASS], counts[FAIL]), (0, 2))

    def test_row_of_a_build_file(self):
        counts, plans, _ = self.play([record("vm-vhost", FAIL)], [record("vm-vhost", PASS)])
        self.assertEqual((counts[PASS], counts[FAIL]), (1, 0))
        self.assertEqual(plans[1]["commands"], [{"name": "vm-vhost"}])

    def test_many_are_no_chance(self):
        rows = [record(f"tests/vm/test_kata.py: Run.test_{i}", FAIL) for i in range(5)]
        counts, plans, _ = self.play(rows, [])
        self.assertEqual((counts[FAIL], len(plans)), (5, 1))

    def test_what_is_no_test_has_none(self):
        counts, plans, _ = self.play([record("the guests ran on KVM", FAIL)], [])
        self.assertEqual((counts[FAIL], len(plans)), (1, 1))

    def lose(self, starts):
        """A round whose laboratory is lost at every start but the last."""
        plans, results = [], Results(None)

        def spawned(one, plan, _limit_s):
            plans.append({**plan, "skip": list(one.done)})
            for row in starts[len(plans) - 1]:
                one.take(row)
            return (0 if len(plans) == len(starts) else labtests.NO_RESULT), "silent"

        self.addCleanup(setattr, labtests.Round, "attempt", labtests.Round.attempt)
        labtests.Round.attempt = spawned
        labtests.Round(results, "", [], []).run({"files": [], "commands": [], "only": ""}, 10)
        return results.counts, plans

    def test_lost_machine_goes_on_with_the_rest(self):
        rows = [[record(f"tests/vm/test_kata.py: Run.test_{i}", PASS)] for i in range(3)]
        counts, plans = self.lose(rows)
        self.assertEqual((counts[PASS], counts[FAIL]), (3, 0))
        self.assertEqual(plans[2]["skip"], [rows[0][0]["name"], rows[1][0]["name"]])

    def test_lost_without_progress_fails(self):
        in_vain = [[]] * labtests.IN_VAIN_MAX
        counts, plans = self.lose([[record("a: b", PASS)], *in_vain, [record("a: c", PASS)]])
        self.assertEqual((counts[PASS], counts[FAIL], len(plans)), (2, 0, len(in_vain) + 2))
        counts, plans = self.lose([[record("a: b", PASS)], *in_vain, [], [record("a: c", PASS)]])
        self.assertEqual((counts[PASS], counts[FAIL], len(plans)), (1, 1, len(in_vain) + 2))

    def test_lost_too_often_fails(self):
        rows = [[record(f"a: b{i}", PASS)] for i in range(labtests.LOSSES_MAX + 2)]
        counts, plans = self.lose(rows)
        self.assertEqual((counts[FAIL], len(plans)), (1, labtests.LOSSES_MAX + 1))


class Marks(unittest.TestCase):
    """A mark that is misspelt would let a test join nothing, and nobody would know."""

    def test_marks(self):
        for path in programs.find("vm"):
            with open(path, encoding="utf-8") as source:
                text = source.read()
            with self.subTest(path=os.path.basename(path)):
                for name in re.findall(r"^(LAB\w*)\b *=", text, re.MULTILINE):
                    self.assertIsNotNone(programs.mark(path, name), name)
                words = (programs.mark(path, "LAB") or "").split()
                self.assertLessEqual(set(words), {"quick", "full", "any-accel"})
                self.assertIn(len({"quick", "full"} & set(words)), (0, 1))
                for test in (programs.mark(path, "LAB_QUICK") or "").split():
                    owner, _, name = test.partition(".")
                    self.assertRegex(text, rf"(?m)^class {owner}\(")
                    self.assertRegex(text, rf"(?m)^    def {name}\(")


if __name__ == "__main__":
    unittest.main(verbosity=2)
