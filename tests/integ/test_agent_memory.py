# SPDX-License-Identifier: Apache-2.0
"""The agent while its memory is short: each allocation of a container's life fails once.

    test_agent_memory.py AGENT_SHORT AGENT_MEMORY [unittest arguments]
"""
import os
import subprocess
import sys
import time
import unittest

from agent_case import AgentCase

DRIVER = sys.argv[2] if len(sys.argv) > 2 else ""
LIMIT_S = 280


class Memory(AgentCase):
    def footprint(self):
        """What the agent holds: descriptors, mounts, processes, control groups."""
        pid = self.agent_pid()
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as f:
            mounts = sorted(line.split()[4] for line in f)
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            children = f.read().split()
        groups = sorted(path for path, _, _ in os.walk(self.cgroup))
        return {"descriptors": len(os.listdir(f"/proc/{pid}/fd")), "mounts": mounts,
                "children": children, "groups": groups}

    def agent_pid(self):
        """unshare has one child, which became the agent."""
        with open(f"/proc/{self.agent.pid}/task/{self.agent.pid}/children", encoding="ascii") as f:
            return int(f.read().split()[0])

    def test_each_allocation(self):
        memory = os.path.join(self.dir, "memory")
        with open(memory, "wb") as f:
            f.write(bytes(24))
        os.environ["KATA_TEST_MEMORY"] = memory
        self.addCleanup(os.environ.pop, "KATA_TEST_MEMORY")
        self.start_agent()
        idle = self.footprint()["descriptors"]
        self.drive(memory, "first")
        # one more: of the process namespace, which is kept for the next
        self.until(lambda: self.footprint()["descriptors"] == idle + 1)
        before = self.footprint()
        self.drive(memory)
        self.assertIsNone(self.agent.poll(), "the agent has ended: " + self.log_text())
        self.maxDiff = None
        self.until(lambda: self.footprint() == before)
        self.assertEqual(self.footprint(), before)

    def drive(self, memory, *mode):
        done = subprocess.run([DRIVER, "unix://" + self.socket, self.rootfs, memory, *mode],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
                              check=False)
        said = done.stdout.decode(errors="replace")
        print(said, end="")
        self.assertEqual(done.returncode, 0, said + self.log_text())

    @staticmethod
    def until(what):
        """The agent notices the end of a driver's connection a moment later."""
        end = time.monotonic() + 10
        while not what() and time.monotonic() < end:
            time.sleep(0.05)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
