# SPDX-License-Identifier: Apache-2.0
"""The VM tests that run in the laboratory (tests/lab), one round of it for all of them.

A file of tests/vm joins by a line LAB = "quick" (in every check) or LAB = "full" (make lab-full
alone), a row of tests/vm/meson.build by the suites "lab" and "lab-quick". One more word in LAB:
"any-accel", for tests that ask for software emulation themselves. A line LAB_QUICK = "Class.test …"
names those of a long file that are in every check.

QEMU's emulation of virtualisation lets a guest die or fall silent now and then (docs/decisions/0050):
a test that fails in such words is run once more, in a laboratory of its own, and its line says so and
why. Where more than RETRIES_MAX fail so, or one in RETRIES_SHARE, it is not chance, and none is. Any
other failure counts, unless another part of the same test failed so.
"""

import json
import os
import subprocess
import tempfile
import time

from . import mesontests, process, programs, secondtry
from .results import FAIL, PASS, SKIP

LAB = os.path.join(process.ROOT, "tests/lab/lab")
WITH_ROOT = os.path.join(process.ROOT, "tests/lab/with-root")
INSIDE = os.path.join(process.ROOT, "tests/lab/suite.py")
# Everything is emulated there; deadlines of tests are stretched by this.
SLOWNESS = 4
NO_RESULT = 125
RETRIES_MAX = 4
RETRIES_SHARE = 25
RETRY_LIMIT_S = 600
CHANCES = (*secondtry.CHANCES, "guest reset", "does not answer", "timed out", "and was killed", "not ended within")
# A machine that dies or locks up is started again for what is left, so often at most in a round.
LOSSES_MAX = 8
IN_VAIN_MAX = 2


def laboratory(options):
    """What runs a command in the laboratory, as a list in front of it."""
    return lambda limit_s, env: [LAB, "--die-with-parent", *options, "--timeout", str(limit_s),
                                 *(word for pair in env for word in ("--env", pair)), "--env", "KATA_LAB=1", "--env", "KATA_CACHE",
                                 "--env", f"KATA_TEST_SLOWNESS={SLOWNESS}"]


def other_root(path):
    """The same for another root file system on this machine, where guests are emulated."""
    dies = ["setpriv", "--pdeathsig", "KILL"]
    return lambda limit_s, env: [*dies, "timeout", "--kill-after=10", str(limit_s), *dies, WITH_ROOT,
                                 "--without-kvm", path, "env", *env, "KATA_TEST_SLOWNESS=2"]


def files(everything):
    """The marked files, by name."""
    wanted = {"quick", "full"} if everything else {"quick"}
    return [path for path in programs.find("vm")
            if wanted & set((programs.mark(path, "LAB") or "").split())]


def rows(directory, suite):
    return [{"name": row["name"], "cmd": row["cmd"], "env": row["env"], "timeout": row["timeout"]}
            for row in mesontests.rows(directory, suite)]


def commands(directory, everything):
    return rows(directory, "lab" if everything else "lab-quick")


def among(paths):
    """The tests that a quick round runs of the files that name some."""
    return {os.path.relpath(path, process.ROOT): programs.mark(path, "LAB_QUICK").split()
            for path in paths if programs.mark(path, "LAB_QUICK")}


def plan_of(name):
    """What runs one test alone: "tests/vm/test_x.py: Class.test (sub)", or a row's name."""
    path, _, test = name.partition(": ")
    if path.endswith(".py"):
        return {"files": [os.path.join(process.ROOT, path)], "only": test.partition(" ")[0]}
    return {"files": [], "only": name} if name.startswith("vm-") and not test else None


class Round:
    """One place to run tests in. `within`: laboratory() or other_root()."""

    def __init__(self, results, title, within, env):
        self.results = results
        self.title = title
        self.within = within
        self.env = env
        self.plan = {}
        self.done = []  # files, commands and tests that need not run again
        self.failed = []  # records held back: there may be a second try
        self.summary = {"monitors": [], "managers": []}

    def take(self, record):
        if "summary" in record:
            self.summary = record["summary"]
            return
        if "done" in record:  # a whole file
            self.done.append(record["done"])
            return
        self.done.append(record["name"])
        if record["status"] == FAIL and plan_of(record["name"]):
            self.failed.append(record)
        else:
            self.count(record)

    def count(self, record, note="", first=""):
        facts = f" [{record['facts']}]" if record["facts"] else ""
        name = record["name"] + self.title + facts + note
        if first:
            self.results.add_second("lab", name, record["seconds"], first, record["count"])
        else:
            self.results.add("lab", name, record["status"], record["seconds"], record["detail"],
                             record["count"])

    def try_again(self, records, chance):
        """One failed test alone; its first words stay in its line."""
        second = Round(self.results, self.title, self.within, self.env)
        seen = []
        second.count = lambda got, note="", first="": seen.append(got)
        status, _ = second.attempts({**self.plan, "whole": False, **plan_of(chance["name"]), "commands": [
            row for row in self.plan["commands"] if row["name"] == chance["name"]]}, RETRY_LIMIT_S)
        own = [got for got in seen if got["status"] == PASS and plan_of(got["name"])]
        bad = second.failed or any(got["status"] == FAIL for got in seen)
        if not status and not bad and own:
            self.count(own[0], first=secondtry.first_words(chance["detail"], CHANCES))
            return
        for record in records:
            self.count(record, " (and again)")

    def try_failed_again(self):
        failed, self.failed = secondtry.by_test(self.failed, lambda record: record["name"]), []
        chances = [next((record for record in records if secondtry.is_chance(record["detail"], CHANCES)), None)
                   for records in failed]
        most = max(RETRIES_MAX, len(self.done) // RETRIES_SHARE)
        few = sum(chance is not None for chance in chances) <= most
        for records, chance in zip(failed, chances):
            if chance and few:
                self.try_again(records, chance)
                continue
            for record in records:
                self.count(record)

    def attempt(self, plan, limit_s):
        """Status of the laboratory, and what it had to say; results are counted as they come."""
        argv = [*self.within(limit_s, self.env), "/usr/bin/python3", "-B", INSIDE,
                json.dumps({**plan, "skip": self.done})]
        with tempfile.TemporaryFile() as said:
            child = process.REAPER.spawn(argv, stdout=subprocess.PIPE, stderr=said)
            try:
                for line in child.stdout:
                    try:
                        self.take(json.loads(line))
                    except ValueError:
                        self.results.say(line.decode(errors="replace").rstrip())
                child.wait(30)
            finally:
                process.stop(child)
            said.seek(0)
            return child.returncode, said.read().decode(errors="replace")

    def attempts(self, plan, limit_s):
        """attempt() until one gave all results, or no more come. Returns the last one's."""
        end = time.monotonic() + limit_s
        in_vain = 0  # losses one after the other without a result between them
        for losses in range(LOSSES_MAX + 1):
            ended = len(self.done)
            status, said = self.attempt(plan, max(60, int(end - time.monotonic())))
            in_vain = in_vain + 1 if len(self.done) == ended else 0
            if status != NO_RESULT or losses == LOSSES_MAX or in_vain > IN_VAIN_MAX:
                break
            self.results.say(f"SECOND TRY: the laboratory was lost{self.title}, with "
                             f"{len(self.done)} results: {said}")
        return status, said

    def run(self, plan, limit_s):
        self.plan = plan
        status, said = self.attempts(plan, limit_s)
        if status:
            self.results.add("lab", "the laboratory" + self.title, FAIL, 0,
                             f"{said}\nstatus {status} with {len(self.done)} results")
        self.try_failed_again()
        return self.summary


def run(results, directory, everything, limit_s, title="", options=(), only=""):
    """One round; returns which monitors and container managers were seen in it.

    `only`: of which tests, where the caller of the runner does not name any.
    """
    plan = {"files": files(everything), "commands": commands(directory, everything),
            "only": results.only or only, "whole": not results.only}
    if not everything:
        plan["among"] = among(plan["files"])
    if not plan["files"] and not plan["commands"]:
        results.add("lab", "all of it", SKIP, 0, "no test is marked for the laboratory")
        return {"monitors": [], "managers": []}
    return Round(results, title, laboratory(options), []).run(plan, limit_s)


def run_emulated(results, directory, root, limit_s, title):
    """Every VM test with another root file system, under software emulation; as run()."""
    plan = {"files": programs.find("vm"), "commands": rows(directory, "vm"), "only": results.only,
            "emulated": True, "whole": not results.only}
    return Round(results, title, other_root(root), []).run(plan, limit_s)
