# SPDX-License-Identifier: Apache-2.0
"""Child processes with deadlines, and the end of whatever they leave behind."""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections import namedtuple

from .results import FAIL, PASS, SKIP

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PR_SET_CHILD_SUBREAPER = 36
# Exit status by which a check says that it cannot run here; its output is the reason.
SKIPPED = 77
KILL_GRACE_S = 3
ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

Done = namedtuple("Done", "ok status seconds text")


def status_of(done):
    if done.status == SKIPPED:
        return SKIP
    return PASS if done.ok else FAIL


class Ended(BaseException):
    """A signal has asked for the end; `status` is the exit status that says so."""

    def __init__(self, status):
        super().__init__(f"ended by signal {status - 128}")
        self.status = status


class Reaper(threading.Thread):
    """Collects adopted orphans at once, as init would: tests look whether a process is gone."""

    def __init__(self):
        super().__init__(daemon=True)
        self.lock = threading.RLock()  # a signal's handler may come while it is held
        self.own = set()  # children that somebody here waits for
        self.status = 0   # of Ended

    def spawn(self, argv, **how):
        with self.lock:
            if self.status:
                raise Ended(self.status)
            child = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL,
                                     start_new_session=True, **how)
            self.own.add(child.pid)
        return child

    def forget(self, child):
        with self.lock:
            self.own.discard(child.pid)

    def end(self, status):
        """There are no more children from now on, and those that are there are asked to end."""
        with self.lock:
            self.status = status
            for pid in self.own:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGTERM)

    def look(self):
        with self.lock, contextlib.suppress(ChildProcessError):
            while True:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is None or found.si_pid in self.own:
                    return
                os.waitpid(found.si_pid, os.WNOHANG)

    def run(self):
        while True:
            self.look()
            time.sleep(0.02)


REAPER = Reaper()


def end_by_signal(signum, _frame):
    for each in ENDS:
        signal.signal(each, signal.SIG_IGN)
    REAPER.end(128 + signum)
    raise Ended(128 + signum)


def adopt_orphans():
    """Daemons that tests start become this process's children, and so can be found; also where a
    signal ends it: main() is to be run by with_ends()."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    REAPER.start()
    for each in ENDS:
        if signal.getsignal(each) != signal.SIG_IGN:  # as nohup asks
            signal.signal(each, end_by_signal)


def with_ends(main):
    """The exit status of main(), or of the signal that ended it; nothing is left running then."""
    try:
        return main()
    except Ended as ended:
        end_leftovers()
        return ended.status


def stop(child):
    """Kills a child's whole process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    REAPER.forget(child)


def run(argv, deadline_s, env=None, owner=True, stderr=subprocess.STDOUT):
    """Runs a command of the tree, as its owner unless told otherwise; stdout and stderr."""
    began = time.monotonic()
    if owner:
        argv = ["tools/as-owner", *argv]
    child = REAPER.spawn(argv, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE,
                         stderr=stderr)
    late = ""
    try:
        output, _ = child.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        stop(child)
        output, _ = child.communicate()
        late = f"\nnot ended within {deadline_s} s: killed"
    finally:
        stop(child)
    return Done(child.returncode == 0 and not late, child.returncode,
                time.monotonic() - began, output.decode(errors="replace") + late)


def children():
    """(pid, command line) of every child of this process."""
    me = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
            if int(fields[1]) != me or fields[0] == "Z":
                continue
            with open(f"/proc/{name}/cmdline", "rb") as line:
                found.append((int(name), line.read().replace(b"\0", b" ").decode(
                    errors="replace").strip()))
    return found


def end_leftovers():
    """Gives adopted processes a moment to end by themselves; kills and names the others."""
    end = time.monotonic() + KILL_GRACE_S
    while children() and time.monotonic() < end:
        time.sleep(0.05)
    named = []
    while True:
        left = children()
        if not left:
            return named
        for pid, line in left:
            named.append(f"left process {pid} running: {line}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def give_back(directory):
    """What root made in a tree of somebody else's goes to that owner."""
    owner = os.stat(ROOT)
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for path, folders, files in os.walk(directory):
        for name in folders + files:
            with contextlib.suppress(OSError):
                os.chown(os.path.join(path, name), owner.st_uid, owner.st_gid,
                         follow_symlinks=False)
    with contextlib.suppress(OSError):
        os.chown(directory, owner.st_uid, owner.st_gid)
