# SPDX-License-Identifier: Apache-2.0
"""The extras initrd: a shell, iptables and mkfs for features that need them in the guest.

A second archive that is put behind the first one; the kernel unpacks both into one tree. Its
programs come from Debian packages unpacked into the cache, with the libraries they name.
"""

import os
import re
import shutil
import stat
import struct

from guestlib import apt, busybox, common, cpio
from guestlib.common import Problem

LOCK_DEADLINE_S = 1800
KEPT_TREES = 2
PACKAGES = ("iptables", "e2fsprogs")
MAX_PACKAGES = 100

# Programs in the archive: (place, places it may have in its package).
PROGRAMS = (
    ("usr/sbin/xtables-nft-multi", ("usr/sbin/xtables-nft-multi", "sbin/xtables-nft-multi")),
    ("usr/sbin/mke2fs", ("sbin/mke2fs", "usr/sbin/mke2fs")),
)
LINKS = (
    *(("usr/sbin/" + name, "xtables-nft-multi")
      for name in ("iptables", "iptables-save", "iptables-restore",
                   "ip6tables", "ip6tables-save", "ip6tables-restore")),
    ("usr/sbin/mkfs.ext4", "mke2fs"),
)
CONFIG_FILES = ("etc/mke2fs.conf",)
LIBRARY_DIRECTORIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib", "usr/lib",
                       "lib64", "usr/lib64")
PLUGINS = "usr/lib/x86_64-linux-gnu/xtables"
PLUGIN_NAME = re.compile(r"lib(xt|ipt|ip6t)_.*\.so")


def closure(view):
    """(package, version) of the wanted packages and the libraries they depend on."""
    chosen = {}
    waiting = list(PACKAGES)
    while waiting:
        name = waiting.pop()
        if name in chosen:
            continue
        version = view.candidate(name)
        if not version:
            if name in PACKAGES:
                raise Problem(f"the distribution offers no package {name}")
            continue
        chosen[name] = version
        if len(chosen) > MAX_PACKAGES:
            raise Problem(f"the extras would need more than {MAX_PACKAGES} packages")
        for part in view.depends(name, version).split(","):
            first = part.split("|")[0].split("(")[0].split(":")[0].strip()
            if first.startswith("lib"):
                waiting.append(first)
    return sorted(chosen.items())


def fetch(cache):
    """The directory with all packages unpacked into one tree."""
    base = os.path.join(cache, "extras")
    os.makedirs(base, exist_ok=True)
    with common.lock(base, "fetch", LOCK_DEADLINE_S, "unpacking the extras"):
        lists = apt.lists_state()[:16]
        final = os.path.join(base, lists)
        if os.path.isdir(final):
            return final
        common.sweep(base)
        view = apt.Apt(cache)
        if not view.candidate(PACKAGES[0]):
            view.refresh()
        with common.new_directory(final) as out:
            for name, version in closure(view):
                deb = view.download(name, version, base)
                try:
                    apt.unpack(deb, out, lambda member: member.startswith(
                        ("bin/", "sbin/", "lib", "usr/bin/", "usr/sbin/", "usr/lib", "etc/")))
                finally:
                    os.unlink(deb)
        # the one before may be in use
        trees = sorted((os.path.join(base, name) for name in os.listdir(base)), key=os.path.getmtime)
        for old in [path for path in trees if os.path.isdir(path)][:-KEPT_TREES]:
            shutil.rmtree(old)
        return final


def needed(data):
    """The names of the libraries an ELF file asks for, and of its loader if it has one."""
    table, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    loads, dynamic, loader = [], b"", None
    for at in range(table, table + size * count, size):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, at)
        if kind == 1:
            loads.append((address, offset, length))
        elif kind == 2:
            dynamic = data[offset:offset + length]
        elif kind == 3:
            loader = data[offset:offset + length].rstrip(b"\0").decode()
    pairs = [struct.unpack_from("<QQ", dynamic, at) for at in range(0, len(dynamic) - 15, 16)]
    strings = next((value for tag, value in pairs if tag == 5), None)
    names = []
    for tag, value in pairs:
        if tag == 1 and strings is not None:
            at = file_offset(loads, strings) + value
            names.append(data[at:data.index(b"\0", at)].decode())
    return names, loader


def file_offset(loads, address):
    for start, offset, length in loads:
        if start <= address < start + length:
            return address - start + offset
    raise Problem("a library has its strings outside its segments")


def find(tree, places):
    """The first place that is a file in the unpacked tree; links are followed inside it."""
    for place in places:
        path = os.path.join(tree, place)
        for _ in range(8):
            if not os.path.islink(path):
                break
            target = os.readlink(path)
            path = os.path.join(tree, target.lstrip("/")) if target.startswith("/") else \
                os.path.normpath(os.path.join(os.path.dirname(path), target))
        if path.startswith(tree + os.sep) and os.path.isfile(path):
            return path
    return None


def add_program(archive, tree, place, places, done):
    """One program or library, and everything it names."""
    path = find(tree, places)
    if not path:
        raise Problem(f"none of the packages {', '.join(PACKAGES)} and their libraries "
                      f"holds {os.path.basename(place)}")
    with open(path, "rb") as source:
        data = source.read()
    done.add(os.path.basename(place))
    archive.file(place, data, 0o755)
    names, loader = needed(data)
    if loader and os.path.basename(loader) not in done:
        base = os.path.basename(loader)
        add_program(archive, tree, loader.lstrip("/"),
                    [directory + "/" + base for directory in LIBRARY_DIRECTORIES], done)
    for name in names:
        if name not in done:
            add_program(archive, tree, "usr/lib/x86_64-linux-gnu/" + name,
                        [directory + "/" + name for directory in LIBRARY_DIRECTORIES], done)


def build(cache):
    """The archive as bytes."""
    tree = fetch(cache)
    archive = cpio.Archive()
    program = busybox.find(cache)
    with open(program, "rb") as source:
        archive.file("bin/busybox", source.read(), 0o755)
    for name in busybox.applets(program):
        if name not in ("init", "modprobe"):
            archive.link("bin/" + name, "busybox")
    done = set()
    for place, places in PROGRAMS:
        add_program(archive, tree, place, places, done)
    for name, target in LINKS:
        archive.link(name, target)
    for name in CONFIG_FILES:
        with open(os.path.join(tree, name), "rb") as source:
            archive.file(name, source.read())
    plugins = os.path.join(tree, PLUGINS)
    for name in sorted(os.listdir(plugins)):
        path = os.path.join(plugins, name)
        if PLUGIN_NAME.fullmatch(name) and stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, "rb") as source:
                archive.file(f"{PLUGINS}/{name}", source.read(), 0o755)
        elif PLUGIN_NAME.fullmatch(name):
            archive.link(f"{PLUGINS}/{name}", os.readlink(path))
    return archive.pack()
