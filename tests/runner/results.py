# SPDX-License-Identifier: Apache-2.0
"""Counts and prints what the tests gave."""

import os
import time

PASS, FAIL, SKIP = "pass", "fail", "skip"
TAIL_LINES = 40
GIST_LINES = 12


def tail(text):
    lines = text.rstrip().splitlines()
    cut = len(lines) - TAIL_LINES
    return ([f"… {cut} lines before"] if cut > 0 else []) + lines[-TAIL_LINES:]


def gist(text):
    """The last of what matters: without the frame that cmocka puts around what it says."""
    frames = ("[==========]", "[  PASSED  ]", "[  FAILED  ]", " 1 FAILED TEST(S)")
    return [line for line in tail(text) if line.strip() and not line.startswith(frames)][-GIST_LINES:]


class Results:
    """Every result is printed when it comes; failures once more at the end."""

    def __init__(self, out, only=""):
        self.out = out
        self.only = only
        self.counts = {PASS: 0, FAIL: 0, SKIP: 0}
        self.failures = []
        self.skips = []
        self.seconds = []  # what passed by a second try only
        self.began = time.monotonic()
        self.stage_began = self.began
        self.before = dict(self.counts)

    def say(self, text):
        if self.out:
            print(text, file=self.out, flush=True)

    def start(self, suite):
        self.stage_began = time.monotonic()
        self.before = dict(self.counts)
        self.say(f"== {suite}")

    def end(self, suite):
        seconds = time.monotonic() - self.stage_began
        parts = ", ".join(f"{self.counts[kind] - self.before[kind]} {word}" for kind, word in
                          ((PASS, "passed"), (FAIL, "failed"), (SKIP, "skipped")))
        self.say(f"== {suite}: {parts} in {seconds:.0f} s\n")

    def wants(self, name):
        return self.only in name

    def add(self, suite, name, status, seconds, detail="", count=1, window=None):
        """`count`: how many tests this line stands for. A skip's detail is its reason. `window`:
        from when to when it ran, by the monotonic clock, for who watches the machine."""
        self.counts[status] += count
        times = f" [{count} tests]" if count != 1 else ""
        self.say(f"{status:4} {suite}: {name}{times} ({seconds:.1f} s)" +
                 (f": {detail.strip()}" if status == SKIP else ""))
        if status == FAIL:
            self.failures.append((suite, name, detail))
            for line in tail(detail):
                self.say("     | " + line)
        elif status == SKIP:
            self.skips.append((suite, name, detail.strip()))

    def add_second(self, suite, name, seconds, first, count=1):
        """What passed when it was run once more; `first` is why."""
        self.seconds.append((suite, name, first))
        self.add(suite, f"{name} (SECOND TRY; first: {first})", PASS, seconds, count=count)

    def failures_text(self):
        return "\n".join(detail for _, _, detail in self.failures)

    def finish(self, path):
        """The summary; the closing line also goes into a file. Returns the exit status."""
        self.say(f"All in {time.monotonic() - self.began:.0f} s")
        for suite, name, reason in self.skips:
            self.say(f"skipped {suite}: {name}: {reason}")
        for suite, name, first in self.seconds:
            self.say(f"second try {suite}: {name}: {first}")
        for suite, name, detail in self.failures:
            self.say(f"FAILED {suite}: {name}")
            for line in gist(detail):
                self.say("     | " + line)
        closing = (f"{self.counts[PASS]} passed, {self.counts[FAIL]} failed, "
                   f"{self.counts[SKIP]} skipped")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # one of root's, of a run before, may be in the place: the directory is ours
        with open(path + ".new", "w", encoding="utf-8") as out:
            out.write(closing + "\n")
        os.replace(path + ".new", path)
        self.say(closing)
        # A run without a single test that passed has tested nothing.
        return 1 if self.counts[FAIL] or not self.counts[PASS] else 0
