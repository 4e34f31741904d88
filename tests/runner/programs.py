# SPDX-License-Identifier: Apache-2.0
"""The tests that are unittest modules: each a process of its own, with a time limit."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest

from . import needs, process
from .results import FAIL, PASS, SKIP

DEFAULT_TIMEOUT_S = 300
LOOK_S = 0.5
REPORT_MAX = OUTPUT_MAX = 16 << 20
# How much longer everything may take on a slow machine, such as an emulated one.
SLOWNESS = float(os.environ.get("KATA_TEST_SLOWNESS", "1"))
MARK = r'^{} = (?:\(?((?:"[^"]*"\s*)+)\)?|(\d+))$'


def find(folder):
    directory = os.path.join(process.ROOT, "tests", folder)
    if not os.path.isdir(directory):
        return []
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory))
            if name.startswith("test_") and name.endswith(".py")]


def mark(path, name):
    """The value of NAME = "TEXT", ("TEXT" "MORE") or NUMBER in a test file, as text; None without."""
    with open(path, encoding="utf-8") as source:
        match = re.search(MARK.format(name), source.read(), re.MULTILINE)
    if not match:
        return None
    return match.group(2) or "".join(re.findall(r'"([^"]*)"', match.group(1)))


def timeout_of(path):
    return int(mark(path, "TIMEOUT_S") or DEFAULT_TIMEOUT_S) * SLOWNESS


class Reporter(unittest.TestResult):
    """Writes one JSON line per result to a descriptor of its own, whatever a test prints."""

    def __init__(self, out):
        super().__init__()
        self.out = out
        self.began = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        self.write({"start": test.id(), "at": self.began})

    def write(self, record):
        self.out.write(json.dumps(record) + "\n")
        self.out.flush()

    def tell(self, test, status, detail=""):
        self.write({"name": test.id(), "status": status, "detail": detail,
                    "seconds": time.monotonic() - self.began})

    def addSuccess(self, test):
        self.tell(test, PASS)

    def addError(self, test, err):
        super().addError(test, err)
        self.tell(test, FAIL, self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tell(test, FAIL, self.failures[-1][1])

    def addSkip(self, test, reason):
        self.tell(test, SKIP, reason)

    def addExpectedFailure(self, test, err):
        self.tell(test, PASS)

    def addUnexpectedSuccess(self, test):
        self.tell(test, FAIL, "passed, but was expected to fail")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.tell(subtest, FAIL, self._exc_info_to_string(err, test))


def child(path, fd, only, skip, among):
    """In the process of one module: loads it and runs what is wanted of it."""
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    with os.fdopen(fd, "w", encoding="utf-8") as out:
        reporter = Reporter(out)
        suite = unittest.defaultTestLoader.loadTestsFromName(name)
        wanted = [test for test in flatten(suite) if only in test.id() and local(test.id()) not in skip
                  and (not among or local(test.id()) in among)]
        reporter.write({"wanted": [test.id() for test in wanted]})
        unknown = set(among) - {local(test.id()) for test in flatten(suite)}
        if unknown:
            reporter.write({"name": f"{name}.the tests that its marks name", "status": FAIL, "seconds": 0,
                            "detail": f"it has none of the name {', '.join(sorted(unknown))}"})
        unittest.TestSuite(wanted).run(reporter)
        reporter.write({"end": True})


def local(name):
    """A test's id without its module: Class.test, and Class (setUpClass) for a class as a whole."""
    match = re.fullmatch(r"(\w+) \(\w+\.(\w+)\)", name)
    return f"{match.group(2)} ({match.group(1)})" if match else name.partition(".")[2] or name


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def run(results, suite, path, env, note="", skip=(), among=()):
    """Runs one module and counts its tests: those named in `among` (Class.test) if it names any,
    but none of `skip`."""
    title = os.path.relpath(path, process.ROOT)
    unmet = needs.unmet(mark(path, "NEEDS") or "")
    if unmet:
        status, why = unmet
        results.add(suite, f"{title}{note}: all of it", status, 0, why)
        return
    limit = timeout_of(path)
    began = time.monotonic()
    with tempfile.TemporaryFile() as report, tempfile.TemporaryFile() as output:
        fd = report.fileno()
        code = (f"import sys; sys.path.insert(0, {os.path.join(process.ROOT, 'tests')!r})\n"
                f"from runner import programs; programs.child({path!r}, {fd}, {results.only!r}, "
                f"{list(skip)!r}, {list(among)!r})")
        job = process.REAPER.spawn([sys.executable, "-B", "-c", code],
                                   env={**os.environ, **env}, stdout=output, stderr=output,
                                   pass_fds=(fd,))
        tally = Tally(results, suite, title + note, output)
        late = False
        try:
            while job.poll() is None and not late:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    job.wait(LOOK_S)
                tally.take(report)
                late = time.monotonic() - began > limit
        finally:
            process.stop(job)
        left = process.end_leftovers()
        tally.take(report)
        tally.close(time.monotonic() - began, f"not ended within {limit:.0f} s and was killed" if late
                    else f"ended early, status {job.returncode}")
    if left:
        results.add(suite, f"{title}{note}: leaves nothing running", FAIL, 0, "\n".join(left))


class Tally:
    """Counts a module's tests as it reports them: who is killed later has told so much."""

    def __init__(self, results, suite, title, output):
        self.results = results
        self.suite = suite
        self.title = title
        self.output = output
        self.at = 0  # so far the report has been read
        self.last = None  # the test that runs
        self.left = []  # tests that have not begun
        self.began = time.monotonic()
        self.ended = False

    def text(self):
        """What the module has printed."""
        return os.pread(self.output.fileno(), OUTPUT_MAX, 0).decode(errors="replace")

    def take(self, report):
        """The lines that are new; one that is not whole yet waits."""
        data = os.pread(report.fileno(), REPORT_MAX, self.at)
        whole = data[:data.rfind(b"\n") + 1]
        self.at += len(whole)
        for line in whole.decode().splitlines():
            self.count(json.loads(line))

    def count(self, record):
        if "wanted" in record:
            self.left = record["wanted"]
        elif "start" in record:
            self.last, self.began = record["start"], record["at"]
            self.left = self.left[self.left.index(self.last) + 1:]
        elif "end" in record:
            self.ended = True
        else:
            self.last = None
            name = local(record["name"])
            detail = record["detail"]
            if record["status"] == FAIL:
                detail = self.text() + "\n" + detail
            self.results.add(self.suite, f"{self.title}: {name}", record["status"],
                             record["seconds"], detail,
                             window=(self.began, self.began + record["seconds"]))

    def close(self, seconds, cut):
        """The module is over; `cut` says why it has not ended as it should."""
        if self.ended:
            return
        name = f"{self.title}: {local(self.last)}" if self.last else f"{self.title} (between its tests)"
        self.results.add(self.suite, name, FAIL, seconds, f"{self.text()}\n{cut}")
        for test in self.left:
            self.results.add(self.suite, f"{self.title}: {local(test)}", FAIL, 0,
                             f"not run: its file has {cut}")
