# SPDX-License-Identifier: Apache-2.0
"""Many containers asked for at once, on a host whose memory is not enough for all of them.

The host's memory is a file of the test's own over /proc/meminfo: each monitor that runs takes a
share of it. KATA_TEST_MANY says how many are asked for (decision 41 has what 200 on the whole machine did).
"""
import os
import subprocess
import threading
import time
import unittest

from containerd_case import IMAGE, RUNTIME, ContainerdCase
from kata_case import SLOWNESS, processes

KERNEL = "any"
TIMEOUT_S = 900
MANY = int(os.environ.get("KATA_TEST_MANY", "24"))
TOTAL_MIB = 2048
SHARE_MIB = 200
REFUSED = "MiB of memory available, of which"


class Memory(threading.Thread):
    """Writes what is available now, in place: the file is what is mounted."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.file = open(path, "r+b", buffering=0)
        self.ended = threading.Event()
        self.write()

    def write(self):
        monitors = sum(name.startswith("qemu") for name in processes().values())
        available = max(TOTAL_MIB - SHARE_MIB * monitors, 0)
        text = f"MemTotal: {TOTAL_MIB * 1024:9} kB\nMemAvailable: {available * 1024:9} kB\n"
        os.pwrite(self.file.fileno(), text.encode(), 0)

    def run(self):
        while not self.ended.wait(0.02):
            self.write()

    def end(self):
        self.ended.set()
        self.join(10)
        self.file.close()


class Many(ContainerdCase):
    def setUp(self):
        path = os.path.join(self.root, "meminfo")
        with open(path, "wb"):
            pass
        memory = Memory(path)
        subprocess.run(["mount", "--bind", path, "/proc/meminfo"], check=True, timeout=20)
        self.addCleanup(memory.end)
        self.addCleanup(subprocess.run, ["umount", "/proc/meminfo"], check=True, timeout=20)
        memory.start()
        super().setUp()

    def ask_for(self, names):
        """{name: how its `ctr run -d` ended}, all under way at once."""
        done = {}

        def one(name):
            done[name] = self.ctr("run", "-d", "--runtime", RUNTIME, IMAGE, name, "sleep", "10000",
                                  timeout=600)

        threads = [threading.Thread(target=one, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return done

    def test_each_runs_or_is_refused_by_name(self):
        done = self.ask_for([f"m{i}" for i in range(MANY)])
        self.assertEqual(len(done), MANY)
        running = sorted(name for name, run in done.items() if run.returncode == 0)
        refused = sorted(set(done) - set(running))
        for name in refused:
            self.assertIn(REFUSED, done[name].stderr)
        # a guest that has just come up may be counted twice, as a start and as a monitor
        self.assertGreaterEqual(len(running), 3)
        self.assertGreaterEqual(len(refused), MANY - TOTAL_MIB // SHARE_MIB)
        tasks = [line.split() for line in self.ok("task", "ls").splitlines()[1:]]
        self.assertEqual(sorted((line[0], line[2]) for line in tasks),
                         [(name, "RUNNING") for name in running])
        self.assertEqual(sum(name.startswith("qemu") for name in processes().values()), len(running))
        for name in running:
            out = self.ok("task", "exec", "--exec-id", "x", name, "echo", "well")
            self.assertEqual(out, "well\n")

        with self.subTest("a start on a full node is refused at once"):
            for i in range(TOTAL_MIB // SHARE_MIB + 1 - len(running)):
                began = time.monotonic()
                more = self.ctr("run", "-d", "--runtime", RUNTIME, IMAGE, f"more{i}", "sleep", "1000")
                if more.returncode:
                    break
            self.assertIn(REFUSED, more.stderr)
            self.assertLess(time.monotonic() - began, 5 * SLOWNESS)

        with self.subTest("and has room again when one has ended"):
            self.remove(running[0])
            self.ok("run", "-d", "--runtime", RUNTIME, IMAGE, "after", "sleep", "1000")


if __name__ == "__main__":
    unittest.main(verbosity=2)
