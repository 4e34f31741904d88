# SPDX-License-Identifier: Apache-2.0
"""A machine that dies at each step of a start under containerd: the client is told, nothing is left.

Its PID 1 is hostile_agent.c, which says what "MODE@METHOD" means; or the real one, and QEMU is killed.
"""
import os
import signal
import time
import unittest

import hostile_initrd
from containerd_case import ContainerdCase
from kata_case import SLOWNESS, processes

TIMEOUT_S = 600
KERNEL = "any"
LAB = "full"


class Dying(ContainerdCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.initrd = hostile_initrd.write_to(cls.root)

    def hostile(self, what):
        path = os.path.join(self.root, "hostile.toml")
        with open(path, "w", encoding="ascii") as f:
            f.write(f'[hypervisor.qemu]\ninitrd = "{self.initrd}"\nkernel_params = "hostile={what}"\n'
                    f"[agent.kata]\nreconnect_timeout_ms = {int(20000 * SLOWNESS)}\n")
        return "--runtime-config-path", path

    def nothing_of(self, name):
        """What a failed run leaves with containerd is the container's record alone."""
        self.wait_until(lambda: self.status(name) in (None, "STOPPED"))
        if self.status(name):
            self.ok("task", "rm", name)
        self.ctr("container", "rm", name)
        self.assertEqual(self.ok("task", "ls", "-q"), "")
        self.assertEqual(self.ok("container", "ls", "-q"), "")

    def test_at_each_call(self):
        for what, words in (("exit@Check", ("panic",)), ("off@Check", ("powered off",)),
                            ("rubbish@Check", ("frame",)), ("off@GetGuestDetails", ("powered off",)),
                            ("exit@CreateSandbox", ("panic",)),
                            ("status@CreateSandbox", ("CreateSandbox",)),
                            ("off@CreateContainer", ("powered off",)),
                            ("status@CreateContainer", ("CreateContainer",)),
                            ("exit@StartContainer", ("panic",))):
            with self.subTest(what=what):
                done = self.ctr(*self.run_args("d", "true", options=self.hostile(what)))
                self.assertNotEqual(done.returncode, 0)
                for word in words:
                    self.assertIn(word, done.stderr)
                self.nothing_of("d")

    def test_at_each_moment(self):
        """Killed a while after it began: booting, being talked to, or running already."""
        name = "qemu-system-x86_64"
        for tenths in (0, 1, 3, 5, 7, 9, 12, 16):
            with self.subTest(after_s=tenths / 10):
                client = self.background(*self.run_args("k", "sleep", "1000"))
                self.wait_until(lambda: self.machines(name), 60)
                time.sleep(tenths / 10)
                for pid in self.machines(name):
                    os.kill(pid, signal.SIGKILL)
                out = client.communicate(timeout=60 * SLOWNESS)[0]
                self.assertNotEqual(client.returncode, 0, out)
                self.nothing_of("k")
        self.assertEqual(self.run_ok("well", "echo", "well"), "well\n")

    def machines(self, name):
        return [pid for pid, program in processes().items()
                if program == name and pid not in self.before["processes"]]


if __name__ == "__main__":
    unittest.main(verbosity=2)
