#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Runs one unittest file for runner/parallel.py, in a process that adopts what it leaves behind.

    worker.py JOB      JOB is JSON: suite, path, env, note, only, among

Writes one JSON line for each result.
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from runner import process, programs, secondtry  # noqa: E402


class Lines:
    """Results as JSON lines for the caller, which counts and prints them."""

    def __init__(self, only):
        self.only = only

    def wants(self, name):
        return self.only in name

    def say(self, text):
        print(json.dumps({"say": text}), flush=True)

    def add(self, suite, name, status, seconds, detail="", count=1, window=None):
        print(json.dumps({"suite": suite, "name": name, "status": status, "seconds": seconds,
                          "detail": detail, "count": count, "window": window}), flush=True)

    def add_second(self, suite, name, seconds, first, count=1):
        print(json.dumps({"suite": suite, "name": name, "seconds": seconds, "first": first,
                          "count": count}), flush=True)


def main():
    job = json.loads(sys.argv[1])
    process.adopt_orphans()
    run = secondtry.run if job["suite"] == "vm" else programs.run
    run(Lines(job["only"]), job["suite"], job["path"], job["env"], job["note"], among=job["among"])
    return 0


if __name__ == "__main__":
    sys.exit(process.with_ends(main))
