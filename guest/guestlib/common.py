# SPDX-License-Identifier: Apache-2.0
"""Errors, cache directory, locks, atomic results, and child processes with deadlines.

Every script of guest/ reports a failure as one Problem: what is wrong with which thing, and
what to do about it. Results appear under their final name only when they are complete.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time

CACHE_ENV = "KATA_CACHE"


class Problem(Exception):
    """An error for the user: what is wrong, and how to mend it."""

    def __init__(self, what, mend=None):
        super().__init__(what if mend is None else f"{what}\n  {mend}")
        self.what = what
        self.mend = mend


def say(text):
    """One line of progress. Standard output belongs to results."""
    print(text, file=sys.stderr, flush=True)


def main_wrapper(main, failed=1):
    """Runs main(); a Problem becomes a message and the exit status `failed`."""
    name = os.path.basename(sys.argv[0])
    try:
        sys.exit(main() or 0)
    except Problem as problem:
        say(f"{name}: {problem}")
    except KeyboardInterrupt:
        say(f"{name}: interrupted")
        sys.exit(130)
    except OSError as error:
        say(f"{name}: {error}")
    sys.exit(failed)


def default_cache():
    """$KATA_CACHE, else a place of the system for root and of the user for others."""
    if os.environ.get(CACHE_ENV):
        return os.environ[CACHE_ENV]
    if os.geteuid() == 0:
        return "/var/cache/kata-c"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "kata-c")


def open_cache(path):
    """Makes the cache directory and returns its absolute path."""
    path = os.path.abspath(path or default_cache())
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise Problem(f"cannot make the cache directory {path}: {error.strerror}",
                      f"name another with {CACHE_ENV}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise Problem(f"the cache directory {path} is not writable",
                      f"name another with {CACHE_ENV}")
    return path


@contextlib.contextmanager
def lock(directory, name, deadline_s, why):
    """Holds directory/name.lock. The kernel drops the lock of a process that dies."""
    path = os.path.join(directory, name + ".lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        end = time.monotonic() + deadline_s
        told = False
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            if not told:
                say(f"waiting for another run that is busy with {why}")
                told = True
            if time.monotonic() > end:
                raise Problem(f"another run has held {path} for {deadline_s} s",
                              "see which process has it open, and end that one")
            time.sleep(0.2)
        yield
    finally:
        os.close(fd)


def run(argv, deadline_s, what, cwd=None, env=None, stdin=None):
    """Runs a program to its end and returns its standard output as bytes."""
    clean = dict(os.environ if env is None else env, LC_ALL="C")
    try:
        done = subprocess.run(argv, stdin=stdin or subprocess.DEVNULL, capture_output=True,
                              cwd=cwd, env=clean, timeout=deadline_s, check=False)
    except FileNotFoundError as error:
        raise Problem(f"{what}: there is no program {argv[0]}", need(argv[0])) from error
    except subprocess.TimeoutExpired as error:
        raise Problem(f"{what}: {argv[0]} has not ended in {deadline_s} s") from error
    if done.returncode:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-6:]
        raise Problem(f"{what}: {os.path.basename(argv[0])} failed with status "
                      f"{done.returncode}: " + "\n  ".join(tail or ["it printed nothing"]))
    return done.stdout


# Which Debian package has a program these scripts call.
PACKAGE_OF = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "bc": "bc",
    "bison": "bison",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "flex": "flex",
    "gcc": "gcc",
    "ld": "binutils",
    "lz4": "lz4",
    "lzop": "lzop",
    "make": "make",
    "perl": "perl",
    "strip": "binutils",
    "tar": "tar",
    "xz": "xz-utils",
    "zstd": "zstd",
}


def need(program):
    """The sentence that names the package of a missing program."""
    package = PACKAGE_OF.get(os.path.basename(program))
    return f"install it: apt-get install {package}" if package else f"install {program}"


def find_program(name):
    """The path of a program, sbin directories included, or None."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    return shutil.which(name, path=path)


def sweep(directory):
    """Removes what a killed run left in a directory of the cache; callers hold its lock."""
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name.endswith(".deb"):
            os.unlink(path)
        elif name.startswith(".") and os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def new_directory(final):
    """A directory beside `final` that becomes `final` if the block succeeds.

    Callers hold the parent's lock, and have swept it.
    """
    parent, base = os.path.split(final)
    os.makedirs(parent, exist_ok=True)
    part = tempfile.mkdtemp(prefix=f".{base}.part", dir=parent)
    try:
        os.chmod(part, 0o755)
        yield part
        os.rename(part, final)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


@contextlib.contextmanager
def new_file(final, mode=0o644):
    """A binary file that replaces `final` if the block succeeds."""
    parent = os.path.dirname(os.path.abspath(final))
    os.makedirs(parent, exist_ok=True)
    fd, part = tempfile.mkstemp(prefix="." + os.path.basename(final) + ".", dir=parent)
    try:
        with os.fdopen(fd, "wb") as out:
            yield out
        os.chmod(part, mode)
        os.rename(part, final)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise


def write_if_changed(final, data, mode=0o644):
    """Writes bytes; leaves the file, and so its time, alone if it holds them already."""
    try:
        with open(final, "rb") as old:
            if old.read() == data:
                return False
    except FileNotFoundError:
        pass
    with new_file(final, mode) as out:
        out.write(data)
    return True


def read_info(path):
    """A key=value file as a dictionary."""
    result = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            key, sep, value = line.partition("=")
            if not sep or not key:
                raise Problem(f"{path}, line {number}: not key=value: {line[:60]!r}")
            result[key] = value
    return result


def info_text(info):
    """The text of a key=value file, in the order of the dictionary."""
    for key, value in info.items():
        if "\n" in str(value):
            raise Problem(f"the value of {key} holds a line break")
    return "".join(f"{key}={value}\n" for key, value in info.items())
