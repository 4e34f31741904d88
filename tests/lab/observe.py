# SPDX-License-Identifier: Apache-2.0
"""Watches which virtual machines run, and how: asked of their processes, not of a configuration.

What a QEMU has open says what it uses: a descriptor of a KVM processor, of /dev/vhost-vsock, of
/dev/vhost-net. Its version is what its own program file says.
"""

import os
import re
import subprocess
import threading
import time

INTERVAL_S = 0.2
SETTLED_S = 5
MONITORS = re.compile(r"^qemu-system-")
MANAGERS = ("containerd", "dockerd", "podman")
OPEN_FILES = (("anon_inode:kvm-vcpu", "kvm"), ("/dev/vhost-vsock", "vsock"),
              ("/dev/vhost-net", "vhost-net"))
# Of the command line, what no descriptor tells apart.
ARGUMENTS = (("vhost-user-fs-", "virtio-fs"), ("virtio-9p-", "9p"), ("name=kata.agent", "virtio-serial"),
             ("tap,", "tap"), ("stream,", "passt"), ("microvm,", "microvm"))


def read(path):
    try:
        with open(path, "rb") as source:
            return source.read()
    except OSError:
        return b""


def names(path):
    """A directory's names; none if it is gone, as a process may be at any moment."""
    try:
        return os.listdir(path)
    except OSError:
        return []


def links(pid):
    """What a process has open."""
    found = []
    for name in names(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
    return found


def program(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def parent(pid):
    return (read(f"/proc/{pid}/stat").rpartition(b")")[2].split() or [b"", b"0"])[1].decode()


def descends(pid, ancestor):
    """Whether one process comes from another, by its parents as they are now."""
    while pid not in ("0", "1"):
        if pid == str(ancestor):
            return True
        pid = parent(pid)
    return False


def version(path):
    """The number in what `PROGRAM --version` prints."""
    try:
        done = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    match = re.search(r"\d+\.\d[\w.~+-]*", done.stdout)
    return match.group(0) if match else "?"


def cgroup_layout():
    """v2, hybrid or v1, by what is mounted."""
    rows = [line.split(" - ")[1].split()[0] for line in read("/proc/self/mountinfo").decode()
            .splitlines() if line.split()[4].startswith("/sys/fs/cgroup")]
    if "cgroup" not in rows:
        return "v2"
    return "hybrid" if "cgroup2" in rows else "v1"


class Seen:
    """One process: from when to when it was seen, and what is known of it."""

    def __init__(self, path, now, is_ours=True):
        self.path = path
        self.first = self.last = now
        self.is_ours = is_ours
        self.facts = set()

    def look(self, pid, now):
        self.last = now
        opened = links(pid)
        if not opened:
            return
        self.facts |= {fact for prefix, fact in OPEN_FILES
                       if any(one.startswith(prefix) for one in opened)}
        words = read(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")
        self.facts |= {fact for text, fact in ARGUMENTS if any(text in word for word in words)}
        if any(read(f"/proc/{pid}/task/{task}/comm").endswith(b"/TCG\n")
               for task in names(f"/proc/{pid}/task")):
            self.facts.add("tcg")


class Observer(threading.Thread):
    """Looks at every process a few times a second until the program ends."""

    def __init__(self):
        super().__init__(daemon=True)
        self.lock = threading.Lock()
        self.machines = {}
        self.managers = {}
        self.others = set()  # that have had time to become another program
        self.young = {}
        self.versions = {}
        self.layout = cgroup_layout()

    def run(self):
        while True:
            self.look()
            time.sleep(INTERVAL_S)

    def look(self):
        now = time.monotonic()
        with self.lock:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                # number and start time: a number may be used again
                key = (pid, *read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[19:20])
                if key not in self.others:
                    self.look_at(pid, key, now)

    def look_at(self, pid, key, now):
        for known in (self.machines, self.managers):
            if key in known:
                known[key].look(pid, now)
                return
        path = program(pid)
        name = os.path.basename(path)
        if MONITORS.match(name):
            self.machines[key] = Seen(path, now)
            self.machines[key].look(pid, now)
        elif name in MANAGERS:
            self.managers[key] = Seen(path, now, descends(pid, os.getpid()))
        elif now - self.young.setdefault(key, now) > SETTLED_S:
            self.others.add(key)

    def version_of(self, path):
        if path not in self.versions:
            self.versions[path] = version(path)
        return self.versions[path]

    def programs(self):
        """What was seen in all, with versions."""
        with self.lock:
            paths = [{one.path for one in seen.values()} for seen in (self.machines, self.managers)]
        return {kind: sorted(f"{os.path.basename(path)} {self.version_of(path)}" for path in some)
                for kind, some in zip(("monitors", "managers"), paths)}

    def during(self, begin, end):
        """(facts of each machine, words about the managers) that were there between two moments.

        A manager that the machine itself has running counts where it was begun meanwhile.
        """
        def alive(seen):
            return [one for one in seen.values() if one.first <= end and one.last >= begin - INTERVAL_S]
        with self.lock:
            machines = alive(self.machines)
            managers = [one for one in alive(self.managers) if one.is_ours or one.first >= begin]
        return ([(one.facts, self.version_of(one.path)) for one in machines],
                sorted({f"{os.path.basename(one.path)} {self.version_of(one.path)}"
                        for one in managers}))
