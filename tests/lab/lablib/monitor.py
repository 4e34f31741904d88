# SPDX-License-Identifier: Apache-2.0
"""The QEMU that emulates the laboratory, and the processor it emulates.

Under QEMU 7.2 a processor that runs a nested guest misses an interrupt every few minutes, and the guest
or the whole laboratory stands still; under 10.0 that is rare (docs/decisions/0050-laboratory.md). So an
older one on this machine is passed over for the one of the distribution's backports, which is
unpacked into the cache and never installed.
"""

import os
import re
import shutil
import subprocess
import time
from types import SimpleNamespace

from guestlib import apt, common
from guestlib.common import Problem, say

GOOD = 10
PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
WANTED = re.compile(r"usr/(bin/qemu-system-x86_64|share/(qemu|seabios)/|lib/[^/]+/qemu/)")
LOCK_DEADLINE_S = 1200
AGE_S = 30 * 86400
# Without ERMS and FSRM kernels copy in words instead of bytes, which translated code is three times
# as fast at.
CPU = "max,+svm,-erms,-fsrm"
# QEMU 7.2 does not intercept a nested guest's XSETBV: without XSAVE nobody uses it. What stands on
# XSAVE goes with it, since kernels before 6.14 do not see that by themselves.
CPU_OLD = "max,+svm,-erms,-xsave,-avx,-avx2,-f16c,-fma,-vaes,-pku"


def major(argv, env):
    """The first number of its version, 0 of a program that does not run."""
    try:
        done = subprocess.run([*argv, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=30, check=False, env={**os.environ, **env})
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"version (\d+)\.", done.stdout)
    return int(found.group(1)) if done.returncode == 0 and found else 0


def newest(view, package):
    """Whatever its priority: backports are chosen by nobody who does not ask for them."""
    out = view.run(["apt-cache", "madison", package], apt.QUERY_DEADLINE_S, f"the versions of {package}")
    return apt.newest(line.split("|")[1].strip() for line in out.splitlines() if line.count("|") == 2)


def unpack(cache, base):
    view = apt.Apt(cache)
    source = apt.backports_source()
    if not source:
        raise Problem("apt knows no archive with backports here")
    view.refresh(source)
    versions = {name: newest(view, name) for name in PACKAGES}
    version = versions[PACKAGES[0]] or "0"
    if int(re.match(r"(?:\d+:)?(\d+)", version).group(1)) < GOOD:
        raise Problem(f"the newest QEMU on offer is {version}", view.trouble)
    with common.new_directory(os.path.join(base, version)) as out:
        for name in PACKAGES:
            deb = view.download(name, versions[name], base)
            try:
                apt.unpack(deb, out, WANTED.match)
            finally:
                os.unlink(deb)


def trees(base):
    """Complete ones, the last one unpacked first."""
    found = [os.path.join(base, name) for name in os.listdir(base) if not name.startswith(".")]
    return sorted((path for path in found if os.path.isdir(path)), key=os.path.getmtime, reverse=True)


def fetched(cache):
    """The tree of the unpacked packages; asks for a newer one now and then."""
    base = os.path.join(cache, "qemu")
    os.makedirs(base, exist_ok=True)
    with common.lock(base, "fetch", LOCK_DEADLINE_S, "unpacking QEMU"):
        common.sweep(base)
        present = trees(base)
        if present and time.time() - os.path.getmtime(present[0]) < AGE_S:
            return present[0]
        try:
            unpack(cache, base)
        except (Problem, OSError) as problem:
            if not present:
                raise
            say(f"using the QEMU in the cache: {problem}")
        newest_tree, *others = trees(base)
        for old in others:  # one that was still in use a month ago may be starting a laboratory now
            if time.time() - os.path.getmtime(old) > 2 * AGE_S:
                shutil.rmtree(old)
        os.utime(newest_tree)
        return newest_tree


def from_tree(tree):
    share = os.path.join(tree, "usr/share")
    modules = [os.path.join(tree, "usr/lib", name, "qemu") for name in os.listdir(os.path.join(tree, "usr/lib"))]
    return SimpleNamespace(argv=[os.path.join(tree, "usr/bin/qemu-system-x86_64"), "-L", os.path.join(share, "qemu"),
                                 "-L", os.path.join(share, "seabios")],
                           env={"QEMU_MODULE_DIR": modules[0]}, cpu=CPU)


def obtain(cache):
    """argv (the beginning of a command line), env (what it needs) and cpu."""
    own = shutil.which("qemu-system-x86_64")
    if not own:
        raise Problem("there is no qemu-system-x86_64", "install it: apt-get install qemu-system-x86")
    if major([own], {}) >= GOOD:
        return SimpleNamespace(argv=[own], env={}, cpu=CPU)
    try:
        found = from_tree(fetched(cache))
        if major(found.argv, found.env) >= GOOD:
            return found
        why = f"'{found.argv[0]}' does not run here"
    except (Problem, OSError) as problem:
        why = str(problem)
    say(f"the laboratory runs on {own}, under which it may stand still: no newer QEMU ({why})")
    return SimpleNamespace(argv=[own], env={}, cpu=CPU_OLD)
