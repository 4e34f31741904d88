# SPDX-License-Identifier: Apache-2.0
"""The second try of the laboratory's tests, without a laboratory."""
import json
import os
import re
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from runner import labforms, labtests, needs, process, programs  # noqa: E402
from runner.results import FAIL, PASS, SKIP, Results  # noqa: E402


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
            rows = first if len(plans) == 1 else later
            if rows and isinstance(rows[0], list):  # of one try after the other
                rows = rows[len(plans) - 2]
            for row in rows:
                one.take(row)
            return 0, ""

        self.addCleanup(setattr, labtests.Round, "attempt", labtests.Round.attempt)
        labtests.Round.attempt = attempt
        labtests.Round(results, "", [], []).run({"files": [], "commands": [
            {"name": "vm-vhost"}], "only": ""}, 10)
        return results.counts, plans, "\n".join(lines)

    NAME = "tests/vm/test_kata.py: Run.test_cpus (n=1)"

    def test_programs_of_a_lost_machine(self):
        """What was seen before it was lost, and what after it."""
        one = labtests.Round(Results(None), "", [], [])
        for monitors, managers in ((["qemu 1"], []), (["qemu 1", "qemu 2"], ["containerd 3"]), ([], [])):
            one.take({"summary": {"monitors": monitors, "managers": managers}, "seen": []})
        self.assertEqual(one.summary, {"monitors": ["qemu 1", "qemu 2"], "managers": ["containerd 3"]})

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

    def test_its_guest_dies_there_too(self):
        for later, passes, tries in (([[record(self.NAME, FAIL)], [record(self.NAME, PASS)]], 1, 3),
                                     ([[record(self.NAME, FAIL)]] * 2, 0, 3),
                                     ([[record(self.NAME, FAIL, "1 != 0")], [record(self.NAME, PASS)]], 0, 2)):
            counts, plans, _ = self.play([record(self.NAME, FAIL)], later)
            self.assertEqual((counts[PASS], counts[FAIL], len(plans)), (passes, 1 - passes, tries))

    def test_another_failure_counts(self):
        counts, plans, _ = self.play([record(self.NAME, FAIL, "1 != 0")], [record(self.NAME, PASS)])
        self.assertEqual((counts[PASS], counts[FAIL], len(plans)), (0, 1, 1))

    def test_words_of_silence(self):
        says = "x\nTraceback (most recent call last):\n  File \"x\", line 1, in y\n    z()\n"
        for words, again in (("subprocess.TimeoutExpired: Command '['kata']' timed out after 480 seconds", True),
                             ("AssertionError: Create: the agent in the guest does not answer: Check: timed out", True),
                             ("AssertionError: 'kvm' not found in 'tcg (its agent did not answer in 20 s)'", True),
                             ("AssertionError: 'does not answer' not found in 'kata: ok'", False),
                             ("AssertionError: 'timed out' not found in 'x'", False),
                             (f"x\n{says}AssertionError: 1\nnot ended within 900 s and was killed", True)):
            with self.subTest(words=words):
                counts, _, _ = self.play([record(self.NAME, FAIL, says + words)], [record(self.NAME, PASS)])
                self.assertEqual(counts[PASS], int(again))

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


class Parts(unittest.TestCase):
    """What of a round is a result that is kept."""

    FILES = ("tests/vm/test_kata.py", "tests/vm/test_pods.py", "tests/vm/test_links.py")

    def play(self, records, status):
        def attempt(one, _plan, _limit_s):
            for row in records:
                one.take(row)
            return status, "time limit of 10 s"

        self.addCleanup(setattr, labtests.Round, "attempt", labtests.Round.attempt)
        labtests.Round.attempt = attempt
        results, lines = Results(None), []
        results.say = lines.append
        seen = labtests.Round(results, "", [], []).run(
            {"files": [os.path.join(process.ROOT, path) for path in self.FILES],
             "commands": [{"name": "vm-vhost"}, {"name": "vm-share"}], "only": ""}, 10)
        return results.counts, seen["parts"], "\n".join(lines)

    def test_cut_off(self):
        counts, parts, said = self.play([record("vm-vhost", PASS), record("tests/vm/test_kata.py: A.b", PASS),
                                         {"done": "tests/vm/test_kata.py"}, record("tests/vm/test_pods.py: A.b", PASS)], 124)
        self.assertEqual((counts[PASS], counts[FAIL]), (3, 4))
        for name in ("vm-share", "tests/vm/test_pods.py", "tests/vm/test_links.py"):
            self.assertIn(f"fail lab: {name}: what is left of it", said)
        self.assertEqual(sorted(parts), ["tests/vm/test_kata.py", "vm-vhost"])

    def test_kept_at_once(self):
        """A part's result outlives its round, unless a second try may change it."""
        kept = []
        one = labtests.Round(Results(None), "", [], [], kept.append)
        for row in ({"summary": {"monitors": ["q"], "managers": []}, "seen": []}, record("vm-vhost", PASS),
                    record("vm-share", FAIL), record("tests/vm/test_kata.py: A.b", PASS),
                    {"done": "tests/vm/test_kata.py"}, record("tests/vm/test_pods.py: A.b", FAIL),
                    {"done": "tests/vm/test_pods.py"}):
            one.take(row)
        self.assertEqual([[*seen["parts"]] for seen in kept], [["vm-vhost"], ["tests/vm/test_kata.py"]])
        self.assertEqual((kept[1]["monitors"], kept[1]["parts"]["tests/vm/test_kata.py"][PASS]), (["q"], 1))

    def test_several_at_once(self):
        """Each part is run by one, and what they have seen counts together."""
        plan = {"files": [f"/t/tests/vm/test_{name}.py" for name in "abc"], "commands": [{"name": "vm-x"}],
                "only": "", "whole": True}
        ran = []

        def attempt(one, hand, _limit_s):
            ran.append([*(row["name"] for row in hand["commands"]), *hand["files"]])
            for row in hand["commands"]:
                one.take(record(row["name"], PASS))
            for path in hand["files"]:
                one.take(record(f"{path[3:]}: A.b", PASS))
                one.take({"done": path[3:]})
            one.take({"summary": {"monitors": ["q"], "managers": []},
                      "seen": ["kvm", "vsock"] if hand["commands"] else ["vhost-net", "virtio-fs"]})
            return 0, ""

        self.addCleanup(setattr, labtests.Round, "attempt", labtests.Round.attempt)
        labtests.Round.attempt = attempt
        os.environ["KATA_LAB_JOBS"] = "2"
        self.addCleanup(os.environ.pop, "KATA_LAB_JOBS")
        results = Results(None)
        seen = labtests.share_out(results, "", None, plan, 10)
        self.assertEqual((results.counts[PASS], results.counts[FAIL], len(ran)), (4, 0, 2))
        self.assertEqual(sorted(sum(ran, [])), sorted(["vm-x", *plan["files"]]))
        self.assertEqual((len(seen["parts"]), seen["monitors"]), (4, ["q"]))

    def test_what_guests_ran_with(self):
        """Of all the machines of a round: one that was lost has seen what the next does not."""
        for seen, failed in ((["kvm", "vsock", "vhost-net", "virtio-fs"], 0), (["kvm", "vsock", "virtio-fs"], 1)):
            for whole in (True, False):
                one = labtests.Round(Results(None), "", [], [])
                one.take({"summary": {}, "seen": seen})
                one.take({"summary": {}, "seen": ["kvm"]})
                one.judge({"whole": whole})
                self.assertEqual(one.results.counts[FAIL], failed if whole else 0)

    def test_counts(self):
        rows = [record("tests/vm/test_kata.py: A.b", PASS), record("tests/vm/test_kata.py: A.c (n=1)", FAIL, "1 != 0"),
                record("tests/vm/test_kata.py (between its tests)", FAIL, "1"),
                record("tests/vm/test_kata.py: A.d", SKIP), {"done": "tests/vm/test_kata.py"},
                record("the guests ran on KVM", FAIL, "no guest")]
        counts, parts, _ = self.play(rows, 0)
        part = parts["tests/vm/test_kata.py"]
        self.assertEqual((part[PASS], part[FAIL], part[SKIP], part["second"]), (1, 2, 1, 0))
        self.assertEqual(counts[FAIL], 3)

    def test_forms(self):
        """Results of two calls are one row; what is of an older one stays until its part runs again."""
        with tempfile.TemporaryDirectory() as directory:
            for name in ("KEPT", "DOCUMENTED"):
                self.addCleanup(setattr, labforms, name, getattr(labforms, name))
                setattr(labforms, name, os.path.join(directory, name))
            title = labforms.FORMS[0][0]
            part = {PASS: 1, FAIL: 0, SKIP: 0, "second": 0, "seconds": 9, "day": "2026-01-01"}
            labforms.save(labforms.DOCUMENTED, [{"title": title, "monitors": ["q 1"], "managers": [],
                                                 "parts": {"a": part, "b": part}}])
            labforms.keep({"title": title, "monitors": ["q 2"], "managers": ["c"], "parts": {"b": {**part, PASS: 2}}})
            labforms.keep({"title": title, "monitors": [], "managers": [], "parts": {"c": part}})
            row = labforms.kept()[title]
            self.assertEqual({name: one[PASS] for name, one in row["parts"].items()}, {"a": 1, "b": 2, "c": 1})
            self.assertEqual((row["monitors"], row["managers"]), (["q 1", "q 2"], ["c"]))


class Marks(unittest.TestCase):
    """A mark that is misspelt would let a test join nothing, and nobody would know."""

    def test_marks(self):
        for path in programs.find("vm"):
            with open(path, encoding="utf-8") as source:
                text = source.read()
            with self.subTest(path=os.path.basename(path)):
                for name in re.findall(r"^(LAB\w*|NEEDS)\b *=", text, re.MULTILINE):
                    self.assertIsNotNone(programs.mark(path, name), name)
                words = (programs.mark(path, "LAB") or "").split()
                self.assertLessEqual(set(words), {"quick", "full", "any-accel"})
                self.assertIn(len({"quick", "full"} & set(words)), (0, 1))
                self.assertLessEqual(set((programs.mark(path, "NEEDS") or "").split()), set(needs.CHECKS))
                for test in (programs.mark(path, "LAB_QUICK") or "").split():
                    owner, _, name = test.partition(".")
                    self.assertRegex(text, rf"(?m)^class {owner}\(")
                    self.assertRegex(text, rf"(?m)^    def {name}\(")


if __name__ == "__main__":
    unittest.main(verbosity=2)
