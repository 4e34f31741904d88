# SPDX-License-Identifier: Apache-2.0
"""VM tests under software emulation: a second try for what the guest's kernel did not survive.

With QEMU 7.2's emulation about one guest in 250 dies while its kernel boots ("Attempted to kill the
idle task", "Fatal exception"), and one in some ten thousand takes QEMU with it: a write of the guest
finds no memory region behind a stale entry of the emulator's TLB (memory_region_dispatch_write;
QEMU 8.2 no longer changes the map under a processor that runs). Neither is under the control of the
tests. A test whose last exception has such words is run once more, alone, and its line says so; any other
failure counts, and where more than RETRIES_MAX fail in one file it is no chance. The parts of one
test (subTest) are one: what a machine did not survive may be in the way of those behind it.
"""

import re

from . import programs
from .results import FAIL, PASS

RETRIES_MAX = 2
CHANCES = (r"guest kernel panic", r"qemu was killed by signal 11")
TRACEBACK = "Traceback (most recent call last):\n"


class Held:
    """Results of one module, whose failures are kept back; a silent one tells nobody of the rest."""

    def __init__(self, results, only, silent=False):
        self.results = results
        self.only = only
        self.silent = silent
        self.failed = []
        self.passed = 0

    def say(self, text):
        self.results.say(text)

    def wants(self, name):
        return self.only in name

    def add(self, suite, name, status, seconds, detail="", count=1, window=None):
        if status == FAIL:
            self.failed.append((name, seconds, detail))
            return
        self.passed += status == PASS
        if not self.silent:
            self.results.add(suite, name, status, seconds, detail, count, window)


def message(detail):
    """What the last exception says; neither the lines of code above it nor what was printed before."""
    lines = detail.rpartition(TRACEBACK)[2].splitlines()
    if TRACEBACK not in detail:
        return detail
    first = next((i for i, line in enumerate(lines) if not line.startswith(" ")), 0)
    return "\n".join(lines[first:])


def is_chance(text, chances=CHANCES):
    return any(re.search(pattern, message(text)) for pattern in chances)


def by_test(failures, name_of):
    """Failures of one test after the other, in lists: "path: Class.test (part)" of `name_of`."""
    tests = {}
    for failure in failures:
        path, _, test = name_of(failure).partition(": ")
        tests.setdefault((path, test.partition(" ")[0]), []).append(failure)
    return list(tests.values())


def first_words(detail, chances=CHANCES):
    """The line that names it."""
    return next(line.strip()[-160:] for line in message(detail).splitlines() if is_chance(line, chances))


def again(results, suite, path, env, note, failures, chance):
    """One test alone; all its failures count if it does not pass now."""
    name, seconds, detail = chance
    alone = Held(results, name.partition(": ")[2].partition(" ")[0], silent=True)
    programs.run(alone, suite, path, env, note)
    if alone.passed and not alone.failed:
        results.add_second(suite, name, seconds, first_words(detail))
        return
    for name, seconds, detail in failures:
        results.add(suite, f"{name} (and again)", FAIL, seconds, detail)


def run(results, suite, path, env, note="", among=()):
    """programs.run(), with the second try."""
    held = Held(results, results.only)
    programs.run(held, suite, path, env, note, among=among)
    tests = by_test(held.failed, lambda failure: failure[0])
    for failures in tests:
        chance = next((failure for failure in failures if is_chance(failure[2])), None)
        if chance and len(tests) <= RETRIES_MAX:
            again(results, suite, path, env, note, failures, chance)
            continue
        for name, seconds, detail in failures:
            results.add(suite, name, FAIL, seconds, detail)
