# SPDX-License-Identifier: Apache-2.0
"""A copy of scripts of tools/ that finds stubs for programs, which write down how they were called."""

import os
import shlex
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Where the scripts look besides PATH.
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
NO_SUDO = unittest.skipIf(shutil.which("sudo", path=SBIN), f"there is a sudo in {SBIN}")


class StubCase(unittest.TestCase):
    SCRIPTS = ()
    REAL = ()  # programs that are no stubs

    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top)
        os.chmod(self.top, 0o755)
        self.tree, self.bin = self.path("tree"), self.path("bin")
        os.makedirs(os.path.join(self.tree, "tools"))
        os.mkdir(self.bin)
        for name in self.SCRIPTS:
            shutil.copy(os.path.join(ROOT, "tools", name), os.path.join(self.tree, "tools"))
        for name in self.REAL:
            os.symlink(shutil.which(name), os.path.join(self.bin, name))

    def path(self, name):
        return os.path.join(self.top, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as out:
            out.write(text)

    def stub(self, name, body="", quiet=False):
        """A program that notes its call, and then does what `body` says."""
        note = "" if quiet else f"printf '%s\\n' \"{name} $*\" >>{shlex.quote(self.path('calls'))}\n"
        self.write(f"bin/{name}", f"#!/bin/sh\n{note}{body}\n")
        os.chmod(self.path(f"bin/{name}"), 0o755)

    def user(self, uid):
        """Whom the scripts take themselves for."""
        self.stub("id", f"echo {uid}", quiet=True)

    def calls(self):
        """What was called since the last look."""
        try:
            with open(self.path("calls"), encoding="utf-8") as text:
                lines = text.read().splitlines()
            os.unlink(self.path("calls"))
        except FileNotFoundError:
            return []
        return lines

    def script(self, *argv, env=None, path=None, **how):
        return subprocess.run([os.path.join(self.tree, "tools", argv[0]), *argv[1:]], cwd=self.tree,
                              env={"PATH": path or self.bin, **(env or {})}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False, **how)
