# SPDX-License-Identifier: Apache-2.0
"""Writes and reads the "newc" cpio archives that the kernel unpacks as its initrd.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. The same
entries give the same bytes whoever packs them, and whenever: uid, gid and times are 0, names
are sorted, inode numbers count up.
"""

import stat

from guestlib.common import Problem

TRAILER = "TRAILER!!!"
HEADER_SIZE = 110
MAX_NAME = 4096


class Entry:
    """One member: mode with file type, data (or a link's target), device numbers."""

    def __init__(self, mode, data=b"", rdev=(0, 0)):
        self.mode = mode
        self.data = data
        self.rdev = rdev


class Archive:
    """Entries by name (relative, without a leading slash); parents are made on demand."""

    def __init__(self):
        self.entries = {}

    def add(self, name, entry):
        name = clean_name(name)
        parent = name.rpartition("/")[0]
        if parent and parent not in self.entries:
            self.directory(parent)
        if parent and not stat.S_ISDIR(self.entries[parent].mode):
            raise Problem(f"the initrd cannot hold /{name}: /{parent} is not a directory")
        if name in self.entries:
            old = self.entries[name]
            if stat.S_ISDIR(old.mode) and stat.S_ISDIR(entry.mode):
                return
            raise Problem(f"the initrd would hold /{name} twice")
        self.entries[name] = entry

    def directory(self, name, mode=0o755):
        self.add(name, Entry(stat.S_IFDIR | mode))

    def file(self, name, data, mode=0o644):
        self.add(name, Entry(stat.S_IFREG | mode, data))

    def link(self, name, target):
        self.add(name, Entry(stat.S_IFLNK | 0o777, target.encode()))

    def device(self, name, major, minor, mode=0o600):
        self.add(name, Entry(stat.S_IFCHR | mode, rdev=(major, minor)))

    def pack(self):
        out = bytearray()
        for inode, name in enumerate(sorted(self.entries), 1):
            out += packed(name, self.entries[name], inode)
        out += packed(TRAILER, Entry(0), 0)
        out += bytes(-len(out) % 512)
        return bytes(out)


def clean_name(name):
    """A name without leading slash; anything that climbs or cannot be packed is refused."""
    name = name.strip("/")
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise Problem(f"the initrd cannot hold a file named {name!r}")
    if len(name.encode()) >= MAX_NAME:
        raise Problem(f"the initrd cannot hold a name of {len(name)} characters")
    return name


def packed(name, entry, inode):
    raw = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.rdev,
              len(raw), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
    head += bytes(-len(head) % 4)
    return head + entry.data + bytes(-len(entry.data) % 4)


def parse(data):
    """(name, Entry) of each member up to the first trailer; Problem if it is no archive."""
    result = []
    at = 0
    while True:
        head = data[at:at + HEADER_SIZE]
        if len(head) < HEADER_SIZE or head[:6] != b"070701":
            raise Problem(f"no cpio header at byte {at}")
        try:
            fields = [int(head[6 + 8 * i:14 + 8 * i], 16) for i in range(13)]
        except ValueError as error:
            raise Problem(f"a damaged cpio header at byte {at}") from error
        mode, size, name_size = fields[1], fields[6], fields[11]
        if not 0 < name_size <= MAX_NAME:
            raise Problem(f"a name of {name_size} bytes at byte {at}")
        body = at + HEADER_SIZE + name_size
        body += -body % 4
        if body + size > len(data):
            raise Problem(f"the archive ends inside the member at byte {at}")
        name = data[at + HEADER_SIZE:at + HEADER_SIZE + name_size - 1].decode()
        if name == TRAILER:
            return result
        result.append((name, Entry(mode, data[body:body + size], (fields[9], fields[10]))))
        at = body + size
        at += -at % 4
