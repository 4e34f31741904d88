# SPDX-License-Identifier: Apache-2.0
"""Emulated guests whose programs come from pages that virtiofsd fills (docs/decisions/0039)."""
import os
import unittest

from kata_case import KataCase

LAB = "full any-accel"
EXECS = 12


class TranslatedCode(KataCase):
    def test_executed_again(self):
        """Every open of the file drops its pages; the next ones were another file's, or its own."""
        config = os.path.join(self.root, "tcg.toml")
        with open(config, "w", encoding="ascii") as f:
            f.write('[hypervisor.qemu]\naccel = "tcg"\nshared_fs = "virtio-fs"\n')
        self.kata_ok("--config", config, "run", "-d", "--name", "code", "busybox", "sleep", "1000")
        for turn in range(EXECS):
            self.assertEqual(self.kata_ok("exec", "code", "echo", str(turn)), f"{turn}\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
