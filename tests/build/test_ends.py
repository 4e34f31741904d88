# SPDX-License-Identifier: Apache-2.0
"""A runner that a signal ends: a closed terminal, a cancelled job, a time limit of somebody else's."""
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A child, and one that has left its session, as tests' daemons do. Neither listens to SIGTERM.
RUNNER = f"""
import signal, sys
sys.path.insert(0, {TESTS!r})
from runner import process
def main():
    for sig in process.ENDS:
        signal.signal(sig, signal.SIG_IGN if sys.argv[3:] else signal.SIG_DFL)
    process.adopt_orphans()
    text = "trap '' TERM HUP INT; setsid sleep {{0}} & echo > {{1}}; sleep {{0}}; sleep {{0}}".format(*sys.argv[1:3])
    return process.run(["sh", "-c", text], 60, owner=False).status
sys.exit(process.with_ends(main))
"""


def sleepers(seconds, *also):
    """Processes that sleep so long; `also`: other programs with that among their words."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as line:
                name, _, words = line.read().decode().partition("\0")
        except OSError:
            continue
        if name in ("sleep", *also) and seconds in words:
            found.append(int(pid))
    return found


class Ends(unittest.TestCase):
    def test_nothing_is_left(self):
        for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with self.subTest(sig=sig), self.started() as (runner, seconds):
                runner.send_signal(sig)
                self.assertEqual(runner.wait(30), 128 + sig)
                self.assertEqual(sleepers(seconds), [])

    def test_what_is_ignored_stays_ignored(self):
        """As nohup asks."""
        with self.started("ignore") as (runner, seconds):
            runner.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            self.assertIsNone(runner.poll())
            runner.kill()
            while left := sleepers(seconds, "sh"):
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)

    @contextlib.contextmanager
    def started(self, *how):
        seconds = f"600.{os.getpid()}{time.monotonic_ns() % 10**9}"
        with tempfile.TemporaryDirectory() as where:
            ready = os.path.join(where, "ready")
            with subprocess.Popen([sys.executable, "-B", "-c", RUNNER, seconds, ready, *how]) as runner:
                end = time.monotonic() + 30
                while (not os.path.exists(ready) or len(sleepers(seconds)) < 2) and time.monotonic() < end:
                    time.sleep(0.05)
                self.assertEqual(len(sleepers(seconds)), 2)
                yield runner, seconds


if __name__ == "__main__":
    unittest.main(verbosity=2)
