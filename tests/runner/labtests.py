# SPDX-License-Identifier: Apache-2.0
"""The VM tests that run in the laboratory (tests/lab), one round of it for all of them.

A file of tests/vm joins by a line LAB = "quick" (in every check) or LAB = "full" (make lab-full
alone), a row of tests/vm/meson.build by the suites "lab" and "lab-quick". One more word in LAB:
"any-accel", for tests that ask for software emulation themselves. A line LAB_QUICK = "Class.test …"
names those of a long file that are in every check.

QEMU's emulation of virtualisation lets a guest die or fall silent now and then (docs/decisions/0050):
a test that fails in such words is run once more, in a laboratory of its own, and its line says so and
why; so once again if its guest dies there, too. Where more than RETRIES_MAX fail so, or one in RETRIES_SHARE, it is not chance, and none is. Any
other failure counts, unless another part of the same test failed so.
"""

import concurrent.futures
import json
import os
import re
import subprocess
import tempfile
import threading
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
TRIES_MAX = 2  # one guest in fifty ends so: twice one after the other was seen
NEEDED = {"kvm", "vsock", "vhost-net", "virtio-fs"}
# The machine's end and the guest's silence, in the engine's words; a call without an end, a file that was cut.
CHANCES = (*secondtry.CHANCES, r"guest reset\b", r"agent (in the guest )?(does|did) not answer", r"\w: timed out\b",
           r" timed out after [\d.]+ seconds", r"(?m)^not ended within \d+ s(:| and was) killed$")
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


def marked_parts(directory, everything):
    """What a round may be made of: files and rows, by the names that their results begin with."""
    return [*(row["name"] for row in commands(directory, everything)),
            *(os.path.relpath(path, process.ROOT) for path in files(everything))]


def every_part(directory):
    """The same of an emulated round."""
    return [*(row["name"] for row in rows(directory, "vm")),
            *(os.path.relpath(path, process.ROOT) for path in programs.find("vm"))]


def rows(directory, suite):
    return [{"name": row["name"], "cmd": row["cmd"], "env": row["env"], "timeout": row["timeout"]}
            for row in mesontests.rows(directory, suite)]


def commands(directory, everything):
    return rows(directory, "lab" if everything else "lab-quick")


def among(paths):
    """The tests that a quick round runs of the files that name some."""
    return {os.path.relpath(path, process.ROOT): programs.mark(path, "LAB_QUICK").split()
            for path in paths if programs.mark(path, "LAB_QUICK")}


PART = re.compile(r"tests/vm/\w+\.py|vm-[\w-]+$")


def part_of(name):
    """Which part a result belongs to; None if to the round as a whole."""
    found = PART.match(name)
    return found and found.group(0)


def plan_of(name):
    """What runs one test alone: "tests/vm/test_x.py: Class.test (sub)", or a row's name."""
    path, _, test = name.partition(": ")
    if path.endswith(".py"):
        return {"files": [os.path.join(process.ROOT, path)], "only": test.partition(" ")[0]}
    return {"files": [], "only": name} if name.startswith("vm-") and not test else None


class Round:
    """
    One place to run tests in. `within`: laboratory() or other_root(). `keep` is given each part that has
    come to its end and has no failure that a second try may turn, as run() gives all: a round may be
    ended before that.
    """

    def __init__(self, results, title, within, env, keep=None):
        self.results = results
        self.title = title
        self.within = within
        self.env = env
        self.keep = keep
        self.plan = {}
        self.done = []  # files, commands and tests that need not run again
        self.failed = []  # records held back: there may be a second try
        self.summary = {"monitors": [], "managers": []}
        self.seen = set()  # what guests ran with
        self.parts = {}
        self.mark = time.monotonic()  # the end of the part before

    def take(self, record):
        if "summary" in record:
            # one after each file: a machine that is lost takes none with it, and the next begins anew
            for kind, some in record["summary"].items():
                self.summary[kind] = sorted({*self.summary[kind], *some})
            self.seen |= set(record["seen"])
            return
        if "done" in record:  # a whole file
            self.done.append(record["done"])
            self.lasted(record["done"])
            self.ended(record["done"])
            return
        self.done.append(record["name"])
        test, part, _ = record["name"].partition(" (")
        if part and "." in test.partition(": ")[2]:  # a part of a test, which must not run again either
            self.done.append(test)
        if part_of(record["name"]) == record["name"]:
            self.lasted(record["name"])
        if record["status"] == FAIL and plan_of(record["name"]):
            self.failed.append(record)
        else:
            self.count(record)
            if record["name"] in self.parts:
                self.ended(record["name"])

    def ended(self, name):
        if self.keep and not any(part_of(record["name"]) == name for record in self.failed):
            self.keep({**self.summary, "parts": {name: self.parts[name]}})

    def part(self, name):
        return self.parts.setdefault(name, {PASS: 0, FAIL: 0, SKIP: 0, "second": 0, "seconds": 0,
                                            "day": time.strftime("%Y-%m-%d")})

    def lasted(self, name):
        """A part has come to its end, its machine's boot aside."""
        now = time.monotonic()
        self.part(name)["seconds"] += round(now - self.mark)
        self.mark = now

    def count(self, record, note="", first=""):
        if part_of(record["name"]):
            part = self.part(part_of(record["name"]))
            part[PASS if first else record["status"]] += record["count"]
            part["second"] += record["count"] if first else 0
        facts = f" [{record['facts']}]" if record["facts"] else ""
        name = record["name"] + self.title + facts + note
        if first:
            self.results.add_second("lab", name, record["seconds"], first, record["count"])
        else:
            self.results.add("lab", name, record["status"], record["seconds"], record["detail"],
                             record["count"])

    def alone(self, chance):
        """One failed test alone: its passes, and what failed meanwhile (None: something outside of it)."""
        second = Round(self.results, self.title, self.within, self.env)
        seen = []
        second.count = lambda got, note="", first="": seen.append(got)
        status, _ = second.attempts({**self.plan, "whole": False, **plan_of(chance["name"]), "commands": [
            row for row in self.plan["commands"] if row["name"] == chance["name"]]}, RETRY_LIMIT_S)
        passed = [got for got in seen if got["status"] == PASS and plan_of(got["name"])]
        other = status or any(got["status"] == FAIL for got in seen)
        return passed, None if other else second.failed

    def try_again(self, records, chance):
        """Until it fails otherwise, at most TRIES_MAX times; its first words stay in its line."""
        for _ in range(TRIES_MAX):
            passed, failed = self.alone(chance)
            if passed and failed == []:
                self.count(passed[0], first=secondtry.first_words(chance["detail"], CHANCES))
                return
            if not failed or not all(secondtry.is_chance(record["detail"], CHANCES) for record in failed):
                break
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
        self.mark = time.monotonic()
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
        if said and not status:  # what it lacks, and runs without
            self.results.say(said.rstrip())
        if status:
            self.results.add("lab", "the laboratory" + self.title, FAIL, 0,
                             f"{said}\nstatus {status} with {len(self.done)} results")
            for name in self.not_run(plan):
                self.results.add("lab", f"{name}{self.title}: what is left of it", FAIL, 0,
                                 "not run: the laboratory has ended")
        self.try_failed_again()
        self.judge(plan)
        whole = {name: part for name, part in self.parts.items() if name in self.done}
        return {**self.summary, "parts": whole}

    def judge(self, plan):
        """A round of all is for each of these, and a test has a way round it."""
        needed = {"tcg"} if plan.get("emulated") else NEEDED
        if plan.get("whole") and needed - self.seen:
            self.results.add("lab", f"what the guests ran with{self.title}", FAIL, 0,
                             f"no guest was seen with {', '.join(sorted(needed - self.seen))}")

    def not_run(self, plan):
        names = [*(row["name"] for row in plan["commands"]),
                 *(os.path.relpath(path, process.ROOT) for path in plan["files"])]
        return [name for name in names if name not in self.done]


class Shared:
    """Results that several rounds count into."""

    def __init__(self, results):
        self.results = results
        self.lock = threading.Lock()

    def __getattr__(self, name):
        def call(*args, **kw):
            with self.lock:
                return getattr(self.results, name)(*args, **kw)
        return call


def dealt(plan, count):
    """The plan in so many parts, each of which has something to do."""
    works = [("commands", row) for row in plan["commands"]] + [("files", path) for path in plan["files"]]
    hands = [works[i::count] for i in range(min(count, len(works)))]
    return [{**plan, "whole": False, **{kind: [work for its, work in hand if its == kind]
                                        for kind in ("commands", "files")}} for hand in hands]


def share_out(results, title, within, plan, limit_s, keep=None):
    """A round in as many places at once as KATA_LAB_JOBS says (1): each takes about one processor."""
    count = int(os.environ.get("KATA_LAB_JOBS") or 1)
    if count == 1:
        return Round(results, title, within, [], keep).run(plan, limit_s)
    shared, alone = Shared(results), threading.Lock()

    def keep_alone(seen):
        with alone:
            keep(seen)

    rounds = [(Round(shared, title, within, [], keep and keep_alone), hand) for hand in dealt(plan, count)]
    with concurrent.futures.ThreadPoolExecutor(len(rounds)) as pool:
        done = [one.result() for one in [pool.submit(each.run, hand, limit_s) for each, hand in rounds]]
    total = Round(results, title, within, [])
    total.seen = set().union(*(each.seen for each, _ in rounds))
    total.judge(plan)
    return {"parts": {name: part for one in done for name, part in one["parts"].items()},
            **{kind: sorted({word for one in done for word in one[kind]}) for kind in ("monitors", "managers")}}


def narrow(plan, parts):
    """Only these parts, if they are named."""
    if parts is None:
        return plan
    return {**plan, "commands": [row for row in plan["commands"] if row["name"] in parts],
            "files": [path for path in plan["files"] if os.path.relpath(path, process.ROOT) in parts]}


def run(results, directory, everything, limit_s, title="", options=(), parts=None, keep=None):
    """
    One round, or some parts of it; returns its parts that ended and what was seen (Round.run). `keep`: see
    Round.
    """
    plan = narrow({"files": files(everything), "commands": commands(directory, everything),
                   "only": results.only, "whole": not results.only and parts is None}, parts)
    if not everything:
        plan["among"] = among(plan["files"])
    if not plan["files"] and not plan["commands"]:
        results.add("lab", "all of it", SKIP, 0, "no test is marked for the laboratory")
        return {"monitors": [], "managers": [], "parts": {}}
    return share_out(results, title, laboratory(options), plan, limit_s, keep)


def run_emulated(results, directory, root, limit_s, title, parts=None, keep=None):
    """Every VM test with another root file system, under software emulation; as run()."""
    plan = narrow({"files": programs.find("vm"), "commands": rows(directory, "vm"), "only": results.only,
                   "emulated": True, "whole": not results.only and parts is None}, parts)
    return share_out(results, title, other_root(root), plan, limit_s, keep)
