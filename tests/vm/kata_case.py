# SPDX-License-Identifier: Apache-2.0
"""What tests of the real `kata` share: a store of their own, and proof that nothing is left.

Run as root from a built tree (make, make guest). KATA_BUILD names another build directory.
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import commands

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("KATA_BUILD", os.path.join(TREE, "build"))
BIN = os.path.join(BUILD, "bin")
BUSYBOX = os.path.join(BUILD, "guest", "busybox.tar")
SLOWNESS = float(os.environ.get("KATA_TEST_SLOWNESS", "1"))  # of this machine, in deadlines
LIMIT = 120 * SLOWNESS  # seconds for one call of kata


PROGRAMS = ("qemu-system-x86_64", "virtiofsd", "passt", "passt.avx2", "kata-stand-in",
            "containerd-shim-kata-v2")


MARK = "KATA_TEST_NAMESPACE"


def command_lines():
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as line:
                found.append(line.read().decode(errors="replace"))
        except OSError:
            continue
    return found


def sweep_cgroups():
    """Those of runs that were killed with their list of what to remove: nobody has their name any more."""
    lines = command_lines()
    for path in glob.glob("/sys/fs/cgroup/*/kata/*/") + glob.glob("/sys/fs/cgroup/kata/*/"):
        name = os.path.basename(path.rstrip("/"))
        if len(name) == 64 and not any(name in line for line in lines):
            for folder, _, _ in os.walk(path, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass  # somebody is in it, or was as quick


def isolate():
    """Starts this program anew in a process and a mount namespace of its own.

    There it sees its own engines and VMs alone, whatever else runs on the machine, and what it
    leaves behind ends with it.
    """
    if os.geteuid() != 0:
        return
    if MARK not in os.environ:
        os.environ[MARK] = "1"
        sweep_cgroups()
        os.execvp("unshare", ["unshare", "--mount", "--pid", "--fork", "--kill-child",
                              "--mount-proc", "--", *sys.orig_argv])
    for folder in ("/run/kata", "/run/kata-containers"):
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "kata-test", folder], check=True)


def hear_signals():
    """What a background job's shell or nohup ignores, kata would leave ignored, too."""
    for sig in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(sig) == signal.SIG_IGN:
            signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)


isolate()
hear_signals()


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


def loops(root):
    """Files below a directory of a test's own that are disks of the host."""
    found = []
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        try:
            with open(path) as f:
                name = f.read().strip()
        except OSError:
            continue  # it has gone meanwhile
        if name.startswith(root + "/"):
            found.append(name)
    return sorted(found)


def footprint(root):
    """What a container that has gone must not have changed; `root` is the test's directory."""
    with open("/proc/self/mountinfo") as f:
        mounts = sorted(line.split()[4] for line in f)
    run = []
    for base in ("/run/kata", "/run/kata-containers/shared/sandboxes"):
        if os.path.isdir(base):
            run += [os.path.join(base, n) for n in os.listdir(base) if not n.startswith(("accel.", "."))]
    return {"processes": processes(), "mounts": mounts, "run": sorted(run),
            "links": sorted(os.listdir("/sys/class/net")), "loops": loops(root)}


def changes(before, root):
    """What is different now."""
    after = footprint(root)
    return {key: (value, after[key]) for key, value in before.items() if value != after[key]}


def check_unchanged(case, before, seconds):
    """Waits until all is as it was."""
    end = time.monotonic() + seconds * SLOWNESS
    while (found := changes(before, case.root)) and time.monotonic() < end:
        time.sleep(0.05)
    case.assertEqual(found, {}, "left behind")


def loop_device(case, path, content):
    """A disk of the host with that content, 1 MiB in a file at `path`, for the length of a test."""
    with open(path, "wb") as f:
        f.write(content.ljust(1 << 20, b"\0"))
    done = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, text=True,
                          timeout=30, check=False)
    if done.returncode:
        case.skipTest(f"no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    case.addCleanup(subprocess.run, ["losetup", "--detach", device], check=True, timeout=30)
    return device


class KataCase(unittest.TestCase):
    """One store for the class, loaded with busybox; each test must leave the host as it was."""

    failureException = commands.Failure

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.root = tempfile.mkdtemp(prefix="kata-test.", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.kata_ok("load", BUSYBOX)

    def setUp(self):
        self.before = footprint(self.root)
        self.addCleanup(self.check_nothing_left)

    def check_nothing_left(self):
        for row in self.containers():
            self.kata("rm", "-f", row)
        # a detached container is gone for `kata` before its engine has ended
        check_unchanged(self, self.before, 10)

    @classmethod
    def kata(cls, *args, stdin=None, timeout=LIMIT, env=None, text=True):
        """Runs kata with the class's store; returns the completed process."""
        return commands.run([os.path.join(BIN, "kata"), "--root", cls.root, *args],
                            input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                            timeout=timeout, text=text, env={**os.environ, **(env or {})})

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
