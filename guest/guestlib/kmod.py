# SPDX-License-Identifier: Apache-2.0
"""Chooses kernel modules: the lines of modules.list, resolved by depmod's tables.

Module names are compared with "-" taken as "_", as the kernel and kmod do.
"""

import fnmatch
import gzip
import lzma
import os
import subprocess
import tempfile

from guestlib.common import Problem, find_program, need, run

KINDS = ("boot", "demand", "alias")
SIGNATURE = b"~Module signature appended~\n"
MAX_MODULE = 64 << 20

# Nodes depmod does not list, because the module behind the number is not the one to load.
EXTRA_NODES = (("kvm", "kvm", "c10:232"),)


def plain(name):
    """A module name or alias with "-" as "_", outside [brackets]."""
    out = []
    inside = False
    for char in name:
        inside = (inside or char == "[") and char != "]"
        out.append("_" if char == "-" and not inside else char)
    return "".join(out)


def name_of(path):
    """The module's name from its file name."""
    return plain(os.path.basename(path).split(".ko", 1)[0])


class Request:
    """What modules.list asks for."""

    def __init__(self):
        self.boot = []
        self.demand = []
        self.alias = []


def read_list(path):
    """Reads a modules.list; each line: kind, then a name, a pattern or an alias."""
    request = Request()
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            optional = words[0].endswith("?")
            kind = words[0].removesuffix("?")
            if kind not in KINDS or len(words) != (3 if kind == "alias" else 2):
                raise Problem(f"{path}, line {number}: neither \"boot NAME\", \"demand NAME\" "
                              "nor \"alias ALIAS NAME\"")
            if kind == "alias":
                request.alias.append((words[1], plain(words[2])))
            else:
                getattr(request, kind).append((plain(words[1]), optional, number))
    return request


class Tree:
    """The modules of one kernel, as depmod describes them."""

    def __init__(self, directory):
        self.directory = directory
        self.files = {}
        self.needs = {}
        self.builtin = set()
        for line in self.lines("modules.dep"):
            path, _, rest = line.partition(":")
            self.files[name_of(path)] = path
            # depmod lists what must be loaded first from the nearest to the deepest
            self.needs[name_of(path)] = [name_of(dep) for dep in reversed(rest.split())]
        for line in self.lines("modules.builtin"):
            self.builtin.add(name_of(line))

    def lines(self, name, required=True):
        path = os.path.join(self.directory, name)
        try:
            with open(path, encoding="utf-8") as lines:
                return [line.strip() for line in lines
                        if line.strip() and not line.startswith("#")]
        except FileNotFoundError as error:
            if not required:
                return []
            raise Problem(f"there is no {path}", "fetch the kernel again") from error

    def match(self, pattern):
        """Names of modules that match, sorted; a plain name matches itself."""
        if pattern in self.files:
            return [pattern]
        return sorted(fnmatch.filter(self.files, pattern))

    def soft_needs(self, name):
        """Modules that should be there too, though nothing links to them."""
        result = []
        for line in self.lines("modules.softdep", required=False):
            words = line.split()
            if len(words) > 2 and words[0] == "softdep" and plain(words[1]) == name:
                for word in words[2:]:
                    if not word.endswith(":"):
                        result += self.behind(word)
        return result

    def behind(self, alias):
        """Modules an exact alias or a module name stands for."""
        alias = plain(alias)
        found = [name for pattern, name in self.aliases() if pattern == alias]
        return found or ([alias] if alias in self.files else [])

    def aliases(self):
        """(alias pattern, module) for every alias of every module, both plain."""
        for line in self.lines("modules.alias"):
            words = line.split()
            if len(words) == 3 and words[0] == "alias":
                yield plain(words[1]), plain(words[2])

    def devnames(self):
        """(module, node below /dev, type and numbers) as depmod writes them."""
        for line in self.lines("modules.devname", required=False):
            words = line.split()
            if len(words) == 3:
                yield plain(words[0]), words[1], words[2]

    def read(self, name):
        """The uncompressed module without its signature."""
        path = os.path.join(self.directory, self.files[name])
        with open(path, "rb") as source:
            data = decompressed(source.read(), path)
        if data[:4] != b"\x7fELF" or len(data) > MAX_MODULE:
            raise Problem(f"{path} is not a kernel module", "fetch the kernel again")
        return unsigned(data)


def decompressed(data, path):
    """Undoes what Debian 13 and others do to module files."""
    if path.endswith(".ko"):
        return data
    if path.endswith(".ko.xz"):
        return lzma.decompress(data)
    if path.endswith(".ko.gz"):
        return gzip.decompress(data)
    if path.endswith(".ko.zst"):
        program = find_program("zstd")
        if not program:
            raise Problem("the kernel's modules are compressed with zstd, which is not here",
                          need("zstd"))
        return subprocess.run([program, "-q", "-d", "-c"], input=data, capture_output=True,
                              timeout=60, check=True).stdout
    raise Problem(f"{path}: unknown kind of module file")


def without_debug(modules):
    """Takes out of modules what loading them does not need, a dictionary name -> bytes. One strip for
    all of them: a process for each would take longer than everything else."""
    with tempfile.TemporaryDirectory() as temporary:
        paths = {name: os.path.join(temporary, name + ".ko") for name in sorted(modules)}
        for name, path in paths.items():
            with open(path, "wb") as out:
                out.write(modules[name])
        run(["strip", "--strip-unneeded", "-R", ".BTF", "-p", *paths.values()], 120,
            "stripping the modules")
        result = {}
        for name, path in paths.items():
            with open(path, "rb") as source:
                result[name] = source.read()
        return result


def unsigned(data):
    """A module without the signature appended to it. The guest's kernel takes modules from
    our initrd alone and demands no signature; checking one costs time on each load."""
    if not data.endswith(SIGNATURE):
        return data
    body = len(data) - len(SIGNATURE)
    size = int.from_bytes(data[body - 4:body], "big")
    if size + 12 > body:
        raise Problem("a module has a signature larger than itself")
    return data[:body - 12 - size]


class Plan:
    """What goes into an initrd: load order at boot, closures on demand, tables."""

    def __init__(self, tree, request, list_name):
        self.tree = tree
        self.boot = []
        self.demand = {}
        for pattern, optional, number in request.boot:
            for name in self.resolve(pattern, optional, f"{list_name}, line {number}"):
                self.add_boot(name)
        for pattern, optional, number in request.demand:
            for name in self.resolve(pattern, optional, f"{list_name}, line {number}"):
                self.add_demand(name)
        self.extra_aliases = [(plain(alias), name) for alias, name in request.alias
                              if name in self.demand or name in self.boot]

    def resolve(self, pattern, optional, where):
        names = self.tree.match(pattern)
        if not names and not optional and pattern not in self.tree.builtin:
            raise Problem(f"{where}: this kernel has no module {pattern}",
                          "a line with \"?\" behind its first word may be unmet")
        return names

    def add_boot(self, name):
        for part in [*self.tree.needs[name], name]:
            if part not in self.boot:
                self.boot.append(part)

    def add_demand(self, name):
        if name in self.boot or name in self.demand:
            return
        self.demand[name] = [part for part in [*self.tree.needs[name], name]
                             if part not in self.boot]
        for part in [*self.tree.needs[name], *self.tree.soft_needs(name)]:
            self.add_demand(part)

    def names(self):
        """Every module that is packed, sorted."""
        return sorted(set(self.boot) | set(self.demand))

    def load_table(self):
        lines = [f"boot {name}.ko" for name in self.boot]
        lines += [f"demand {name} " + " ".join(part + ".ko" for part in parts)
                  for name, parts in sorted(self.demand.items())]
        return "".join(line + "\n" for line in lines)

    def alias_table(self):
        chosen = set(self.names())
        rows = {(name, name) for name in chosen}
        rows |= {(alias, name) for alias, name in self.tree.aliases() if name in chosen}
        rows |= set(self.extra_aliases)
        return "".join(f"{alias} {name}\n" for alias, name in sorted(rows))

    def device_table(self):
        rows = [row for row in self.tree.devnames() if row[0] in self.demand]
        rows += [(name, node, numbers) for name, node, numbers in EXTRA_NODES
                 if name in self.demand and name not in (row[0] for row in rows)]
        return "".join(" ".join(row) + "\n" for row in sorted(rows))


def lookup(alias_table, wanted):
    """The modules a request of the kernel stands for: what the agent does in the guest."""
    wanted = plain(wanted)
    result = []
    for line in alias_table.splitlines():
        pattern, name = line.rsplit(" ", 1)
        if (pattern == wanted or fnmatch.fnmatchcase(wanted, pattern)) and name not in result:
            result.append(name)
    return result
