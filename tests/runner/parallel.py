# SPDX-License-Identifier: Apache-2.0
"""Several unittest files at a time, each under a worker of its own.

A file of VM tests sees its own processes and mounts only (tests/vm/kata_case.py), so that it does
not notice the others. Each takes about one processor: the guest's, or the engine's; one with the line
WAITS = "mostly" takes next to none, and such files have a worker beside those.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
import threading

from . import process, programs
from .results import FAIL

WORKER = os.path.join(process.ROOT, "tests/runner/worker.py")


def jobs():
    """How many at a time: a processor each, but not more than four; KATA_TEST_JOBS says otherwise."""
    return int(os.environ.get("KATA_TEST_JOBS") or min(4, len(os.sched_getaffinity(0))))


def take(results, lock, record):
    with lock:
        if "say" in record:
            results.say(record["say"])
        elif "first" in record:
            results.add_second(**record)
        else:
            results.add(record["suite"], record["name"], record["status"], record["seconds"],
                        record["detail"], record["count"], record["window"])


def run_one(results, lock, job):
    child = process.REAPER.spawn([sys.executable, "-B", WORKER, json.dumps(job)],
                                 stdout=subprocess.PIPE)
    try:
        for line in child.stdout:
            take(results, lock, json.loads(line))
        child.wait()
    finally:
        process.stop(child)
    if child.returncode:
        take(results, lock, {"suite": job["suite"], "name": os.path.relpath(job["path"], process.ROOT),
                             "status": FAIL, "seconds": 0, "count": 1, "window": None,
                             "detail": f"its worker ended with status {child.returncode}"})


def run(results, suite, paths, env, note=""):
    """
    Runs the files and counts their tests as they come; the longest first, so that none is left alone.
    `paths` says of each which of its tests: Class.test, or none for all of them.
    """
    lock = threading.Lock()
    turns = [{"suite": suite, "path": path, "env": env, "note": note, "only": results.only,
              "among": paths[path]}
             for path in sorted(paths, key=programs.timeout_of, reverse=True)]
    with concurrent.futures.ThreadPoolExecutor(jobs()) as busy, concurrent.futures.ThreadPoolExecutor(1) as idle:
        for done in [(idle if programs.mark(job["path"], "WAITS") else busy).submit(run_one, results, lock, job)
                     for job in turns]:
            done.result()
