#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Runs the project's VM tests inside the laboratory, or with another root; the caller is tests/runner/labtests.py.

    suite.py PLAN      PLAN is JSON: files, commands, only, skip; among, emulated

`emulated`: without KVM on purpose.

Writes one JSON line for each result. A test's name is followed by what it really ran with, read
from the processes that ran meanwhile.
"""

import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, HERE)
import observe  # noqa: E402
from runner import process, programs  # noqa: E402
from runner.results import FAIL, PASS, Results  # noqa: E402

SUITE = "lab"
ORDER = ("kvm", "tcg", "microvm", "vsock", "virtio-serial", "virtio-fs", "9p", "vhost-net", "tap",
         "passt")


class Stream(Results):
    """Results as JSON lines for the caller, which counts and prints them."""

    def __init__(self, plan, observer):
        super().__init__(None, plan["only"])
        self.skip = set(plan["skip"])
        self.observer = observer
        self.seen = set()  # facts of guests
        self.wanted = "tcg" if plan.get("emulated") else "kvm"
        self.may_differ = False

    def add(self, suite, name, status, seconds, detail="", count=1, window=None):
        facts = ""
        if window:
            machines, managers = self.observer.during(*window)
            self.judge(name, machines)
            facts = describe(machines, managers, self.observer.layout)
        print(json.dumps({"name": name, "facts": facts, "status": status, "seconds": seconds,
                          "detail": detail, "count": count}), flush=True)

    def judge(self, name, machines):
        for facts, _ in machines:
            self.seen |= facts
            if self.wanted not in facts and facts & {"kvm", "tcg"} and not self.may_differ:
                self.add(SUITE, f"{self.name()}: {name}", FAIL, 0, "not so")

    def name(self):
        return "the guests ran on KVM" if self.wanted == "kvm" else "the guests were emulated"

    def wants(self, name):
        return super().wants(name) and name not in self.skip

    def conclude(self):
        """A round whose guests ran otherwise has not tested what it is for."""
        name = self.name()
        if not self.observer.is_alive():
            self.add(SUITE, name, FAIL, 0, "who watches them has died: its words are above")
        elif self.wanted in self.seen:
            self.add(SUITE, name, PASS, 0)


def describe(machines, managers, layout):
    if not machines and not managers:
        return f"no guest, cgroup {layout}"
    kinds = []
    for facts, number in machines:
        words = [word for word in ORDER if word in facts] + [f"QEMU {number}"]
        if not facts & {"kvm", "tcg"}:
            words.insert(0, "no processor seen")
        if words not in kinds:
            kinds.append(words)
    return "; ".join([", ".join(words) for words in kinds] + managers + [f"cgroup {layout}"])


def tell(observer, results):
    """What was seen so far: a machine that is lost takes none of it with it."""
    print(json.dumps({"summary": observer.programs(), "seen": sorted(results.seen)}), flush=True)


def run_command(results, row):
    """A row of a meson.build file: status 0 is a pass, 77 a skip."""
    if not results.wants(row["name"]):
        return
    argv = [sys.executable if "python3" in os.path.basename(word) and not index else word
            for index, word in enumerate(row["cmd"])]
    began = time.monotonic()
    done = process.run(argv, row["timeout"] * programs.SLOWNESS,
                       {**row["env"], "KATA_TEST_ACCEL": results.wanted}, owner=False)
    ended = time.monotonic()
    results.add(SUITE, row["name"], process.status_of(done), ended - began,
                done.text if not done.ok else "", window=(began, ended))
    for line in process.end_leftovers():
        results.add(SUITE, f"{row['name']}: leaves nothing running", FAIL, 0, line)


def main():
    plan = json.loads(sys.argv[1])
    process.adopt_orphans()
    observer = observe.Observer()
    observer.start()
    results = Stream(plan, observer)
    for row in plan["commands"]:
        run_command(results, row)
        tell(observer, results)
    for path in plan["files"]:
        results.may_differ = "any-accel" in (programs.mark(path, "LAB") or "").split()
        title = os.path.relpath(path, process.ROOT)
        if title not in results.skip:
            programs.run(results, SUITE, path, {"KATA_BUILD": os.path.join(process.ROOT, "build")},
                         skip=[name.removeprefix(title + ": ") for name in results.skip
                               if name.startswith(title + ": ")],
                         among=plan.get("among", {}).get(title, ()))
            tell(observer, results)
            print(json.dumps({"done": title}), flush=True)
    results.conclude()
    tell(observer, results)
    return 0


if __name__ == "__main__":
    sys.exit(process.with_ends(main))
