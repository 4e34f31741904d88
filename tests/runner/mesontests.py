# SPDX-License-Identifier: Apache-2.0
"""The tests that meson knows: run by `meson test`, counted from its log."""

import json
import os
import re
import subprocess

from . import process
from .results import FAIL, PASS, SKIP

SUITE_DEADLINE_S = 1200
TAP_LINE = re.compile(r"^(not ok|ok)\b\s*\d*\s*-?\s*([^#]*)(?:#\s*(\w+)\s*(.*))?$")
SKIP_REASON = re.compile(r"^# skipped: (.*)$")
UNITTEST_COUNT = re.compile(r"^Ran (\d+) tests? in", re.MULTILINE)
UNITTEST_SKIP = re.compile(r"^(\w+) \(.*\.\.\. skipped (.*)$", re.MULTILINE)


def rows(directory, suite):
    """The tests of one suite in a build directory; None: of all."""
    done = process.run(["meson", "introspect", directory, "--tests"], 60,
                       stderr=subprocess.DEVNULL)
    if not done.ok:
        return []
    return [row for row in json.loads(done.text)
            if suite is None or any(name.partition(":")[2] == suite for name in row["suite"])]


def names(directory, suite):
    return [row["name"] for row in rows(directory, suite)]


def is_script(row, directory):
    """Whether a test is a script that runs nothing of what was built."""
    inside = os.path.join(directory, "")
    return not any(os.path.normpath(os.path.join(directory, word)).startswith(inside)
                   and os.path.exists(os.path.join(directory, word)) for word in row["cmd"])


def scripts(directory):
    """The scripts that meson runs, with what arguments they need."""
    return {os.path.normpath(os.path.join(directory, word)) for row in rows(directory, None)
            for word in row["cmd"] if word.endswith(".py")}


def tap(entry):
    """(name, status, reason) of every line of a TAP program.

    cmocka's skips are "not ok 1 # SKIP NAME"; the reason is in a line before (tests/unit/unit.h).
    """
    found, why = [], None
    for line in entry.get("stdout", "").splitlines():
        said = SKIP_REASON.match(line)
        match = TAP_LINE.match(line)
        if said:
            why = said.group(1)
        if not match:
            continue
        word, name, directive, reason = match.groups()
        status = PASS if word == "ok" else FAIL
        if directive and directive.upper() == "SKIP":
            status = SKIP
            if not name.strip():
                name, reason = reason, why
        found.append((name.strip(), status, reason or "no reason given"))
        why = None
    return found


def output(entry):
    return (entry.get("stdout", "") + "\n" + entry.get("stderr", "")).strip()


def count(results, suite, entry):
    """Turns one record of the log into results."""
    name, seconds = entry["name"], entry.get("duration", 0)
    lines = tap(entry)
    bad = entry["result"] not in ("OK", "EXPECTEDFAIL", "SKIP")
    if lines:
        passed = sum(status == PASS for _, status, _ in lines)
        failed = [line for line, status, _ in lines if status == FAIL]
        # meson takes cmocka's skips for failures; cmocka itself does not
        if any(status == SKIP for _, status, _ in lines) and entry.get("returncode") == 0:
            bad = False
        if passed:
            results.add(suite, name, PASS, seconds, count=passed)
        for line, status, reason in lines:
            if status == SKIP:
                results.add(suite, f"{name}: {line}", SKIP, 0, reason)
        for line in failed:
            results.add(suite, f"{name}: {line}", FAIL, seconds, output(entry))
        if bad and not failed:
            results.add(suite, name, FAIL, seconds, f"{entry['result']}, status "
                        f"{entry.get('returncode')}\n{output(entry)}")
    elif entry["result"] == "SKIP":
        results.add(suite, name, SKIP, seconds, output(entry) or "no reason given")
    elif bad:
        results.add(suite, name, FAIL, seconds, f"{entry['result']}\n{output(entry)}")
    else:
        skips = UNITTEST_SKIP.findall(entry.get("stderr", ""))
        ran = UNITTEST_COUNT.search(entry.get("stderr", ""))
        results.add(suite, name, PASS, seconds,
                    count=int(ran.group(1)) - len(skips) if ran else 1)
        for line, reason in skips:
            results.add(suite, f"{name}: {line}", SKIP, 0, reason)


def run(results, suite, directory, meson_suite, owner, with_scripts, env=None, note=""):
    """Runs one meson suite in a build directory, with or without what is nothing but scripts.

    The note is put behind each test's name.
    """
    wanted = [row["name"] for row in rows(directory, meson_suite)
              if (with_scripts or not is_script(row, directory)) and results.wants(row["name"])]
    if not wanted:
        return
    log = os.path.join(directory, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.unlink(log)
    done = process.run(["meson", "test", "-C", directory, "--no-rebuild", "--suite", meson_suite,
                        *wanted], SUITE_DEADLINE_S, env, owner)
    seen = set()
    if os.path.exists(log):
        with open(log, encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                # "project:suite / name" where there is more than one suite
                entry["name"] = entry["name"].rpartition(" / ")[2]
                seen.add(entry["name"])
                entry["name"] += note
                count(results, suite, entry)
    for name in wanted:
        if name not in seen:
            results.add(suite, name + note, FAIL, 0, "meson test did not run it\n" + done.text)
