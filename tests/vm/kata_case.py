# SPDX-License-Identifier: Apache-2.0
"""What tests of the real `kata` share: a store of their own, and proof that nothing is left.

Run as root from a built tree (make). KATA_BIN names another directory of programs.
"""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("KATA_BIN", os.path.join(TREE, "build", "bin"))
BUSYBOX = os.path.join(TREE, "build", "guest", "busybox.tar")
LIMIT = 120  # seconds for one call of kata


PROGRAMS = ("qemu-system-x86_64", "virtiofsd", "passt", "passt.avx2", "kata-stand-in",
            "containerd-shim-kata-v2")


def processes():
    """{pid: program} of every program of ours that runs on the host."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        except OSError:
            continue
        if name in PROGRAMS:
            found[int(pid)] = name
    return found


def footprint():
    """What a container that has gone must not have changed."""
    with open("/proc/self/mountinfo") as f:
        mounts = sorted(line.split()[4] for line in f)
    run = []
    for base in ("/run/kata", "/run/kata-containers/shared/sandboxes"):
        if os.path.isdir(base):
            run += [os.path.join(base, n) for n in os.listdir(base) if not n.startswith("accel.")]
    return {"processes": processes(), "mounts": mounts, "run": sorted(run),
            "links": sorted(os.listdir("/sys/class/net"))}


class KataCase(unittest.TestCase):
    """One store for the class, loaded with busybox; each test must leave the host as it was."""

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.root = tempfile.mkdtemp(prefix="kata-test.", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.kata_ok("load", BUSYBOX)

    def setUp(self):
        self.before = footprint()
        self.addCleanup(self.check_nothing_left)

    def check_nothing_left(self):
        for row in self.containers():
            self.kata("rm", "-f", row)
        after = footprint()
        for key, value in self.before.items():
            self.assertEqual(value, after[key], f"{key} changed")

    @classmethod
    def kata(cls, *args, stdin=None, timeout=LIMIT, env=None, text=True):
        """Runs kata with the class's store; returns the completed process."""
        return subprocess.run([os.path.join(BIN, "kata"), "--root", cls.root, *args],
                              input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                              capture_output=True, timeout=timeout, text=text,
                              env={**os.environ, **(env or {})})

    @classmethod
    def kata_ok(cls, *args, **kw):
        done = cls.kata(*args, **kw)
        if done.returncode != 0:
            raise AssertionError(f"kata {' '.join(args)}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def run_ok(self, *args, **kw):
        """Standard output of `kata run --rm ARGS`."""
        return self.kata_ok("run", "--rm", *args, **kw)

    @classmethod
    def containers(cls):
        return cls.kata_ok("ps", "-aq").split()

    @classmethod
    def inspect(cls, name):
        return json.loads(cls.kata_ok("inspect", name))[0]
