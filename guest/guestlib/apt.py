# SPDX-License-Identifier: Apache-2.0
"""Distribution packages, downloaded and unpacked but never installed.

The machine's own apt lists are asked first. Where they are missing or too old, a private apt
state in the cache is brought up to date from the machine's own sources: that needs no root
and leaves the machine as it is. No address of a mirror is known here.
"""

import contextlib
import hashlib
import os
import re
import subprocess
import tarfile
import tempfile

from guestlib.common import Problem, need, run, say

UPDATE_DEADLINE_S = 300
DOWNLOAD_DEADLINE_S = 900
QUERY_DEADLINE_S = 60
DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Apt:
    """A view of the packages: the machine's own lists, or a private copy of them.

    `trouble` says what went wrong in fetching that copy, None if nothing did.
    """

    def __init__(self, cache):
        self.cache = cache
        self.options = []
        self.private = False
        self.trouble = None

    def run(self, argv, deadline_s, what, cwd=None):
        """apt-get or apt-cache with the options of this view."""
        return run([argv[0], *self.options, *argv[1:]], deadline_s, what, cwd=cwd).decode(
            errors="replace")

    def refresh(self, extra_sources=""):
        """Goes over to the private state, updated from the machine's sources and `extra`."""
        base = os.path.join(self.cache, "apt")
        for name in ("state/lists/partial", "cache/archives/partial", "sources.d"):
            os.makedirs(os.path.join(base, name), exist_ok=True)
        self.options = ["-o", f"Dir::State={base}/state", "-o", f"Dir::Cache={base}/cache",
                        "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
        if os.geteuid() == 0:
            self.options += ["-o", "APT::Sandbox::User=root"]
        if extra_sources:
            self.add_sources(base, extra_sources)
        say("asking the distribution's archive for its newest packages")
        self.private = True
        try:
            self.run(["apt-get", "-qq", "update"], UPDATE_DEADLINE_S, "the package lists")
        except Problem as problem:
            # One dead source among many fails the update; what could be fetched may do.
            self.trouble = problem.what

    def add_sources(self, base, extra_sources):
        """Links the machine's source files into a directory of ours, beside one of our own."""
        parts = os.path.join(base, "sources.d")
        for name in os.listdir(parts):
            os.unlink(os.path.join(parts, name))
        machine = "/etc/apt/sources.list.d"
        if os.path.isdir(machine):
            for name in os.listdir(machine):
                os.symlink(os.path.join(machine, name), os.path.join(parts, name))
        with open(os.path.join(parts, "kata-extra.list"), "w", encoding="utf-8") as out:
            out.write(extra_sources)
        self.options += ["-o", f"Dir::Etc::sourceparts={parts}"]

    def candidate(self, package):
        """The newest version on offer, or None."""
        out = self.run(["apt-cache", "policy", package], QUERY_DEADLINE_S,
                       f"the versions of {package}")
        found = re.search(r"^  Candidate: (\S+)$", out, re.M)
        return found.group(1) if found and found.group(1) != "(none)" else None

    def depends(self, package, version):
        """The text of the Depends and Pre-Depends fields of one version."""
        out = self.run(["apt-cache", "show", f"{package}={version}"], QUERY_DEADLINE_S,
                       f"the dependencies of {package}")
        return ", ".join(re.findall(r"^(?:Pre-)?Depends: (.*)$", out, re.M))

    def names(self, pattern):
        """The names of packages that match a regular expression."""
        out = self.run(["apt-cache", "search", "--names-only", pattern], QUERY_DEADLINE_S,
                       f"packages like {pattern}")
        return [line.split(" ", 1)[0] for line in out.splitlines() if line]

    def download(self, package, version, directory):
        """Fetches the .deb of one version into a directory and returns its path."""
        say(f"downloading {package} {version}")
        with tempfile.TemporaryDirectory(prefix=".download.", dir=directory) as temporary:
            self.run(["apt-get", "-qq", "download", f"{package}={version}"],
                     DOWNLOAD_DEADLINE_S, f"{package} {version}", cwd=temporary)
            debs = [name for name in os.listdir(temporary) if name.endswith(".deb")]
            if len(debs) != 1:
                raise Problem(f"apt-get download {package}={version} left {len(debs)} files")
            final = os.path.join(directory, debs[0])
            os.rename(os.path.join(temporary, debs[0]), final)
        return final


def lists_state():
    """A digest that changes when the machine's package lists or sources do."""
    state = []
    for place in ("/var/lib/apt/lists", "/etc/apt", "/etc/apt/sources.list.d"):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.is_file():
                    info = entry.stat()
                    state.append((entry.path, info.st_mtime_ns, info.st_size))
    return hashlib.sha256(repr(sorted(state)).encode()).hexdigest()


def version_less(a, b):
    """Compares two package versions as dpkg does."""
    return subprocess.run(["dpkg", "--compare-versions", a, "lt", b],
                          timeout=QUERY_DEADLINE_S, check=False).returncode == 0


def newest(versions):
    """The greatest of some package versions, None of none."""
    best = None
    for version in versions:
        if best is None or version_less(best, version):
            best = version
    return best


def backports_source():
    """A source line for the backports of the machine's suite, from its own main mirror.

    Empty where apt names no Debian main archive.
    """
    out = run(["apt-get", "indextargets", "--format",
               "$(REPO_URI)|$(CODENAME)|$(SUITE)|$(COMPONENT)|$(ORIGIN)|$(LABEL)",
               "Created-By: Packages"], QUERY_DEADLINE_S, "the machine's package sources")
    for line in out.decode(errors="replace").splitlines():
        fields = line.split("|")
        if len(fields) != 6 or fields[3:] != ["main", "Debian", "Debian"]:
            continue
        uri, codename = fields[0], fields[1]
        if re.fullmatch(r"[a-z]+", codename):
            keys = f"[signed-by={DEBIAN_KEYRING}] " if os.path.exists(DEBIAN_KEYRING) else ""
            return f"deb {keys}{uri} {codename}-backports main\n"
    return ""


def unpack(deb, directory, wanted):
    """Writes the members of a .deb for which wanted(name) is true below a directory.

    Names are relative, without a leading "./". The package is one that apt has checked; names
    that climb are left out all the same. Device nodes and owners are not recreated.
    """
    argv = ["dpkg-deb", "--fsys-tarfile", deb]
    try:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except FileNotFoundError as error:
        raise Problem(f"cannot unpack {deb}", need(argv[0])) from error
    count = 0
    try:
        with tarfile.open(fileobj=child.stdout, mode="r|") as tar:
            for member in tar:
                name = os.path.normpath(member.name)
                if name.startswith(("/", "..")) or not wanted(name):
                    continue
                count += unpack_member(tar, member, os.path.join(directory, name))
        child.stdout.read()
    except tarfile.TarError as error:
        raise Problem(f"{deb} is damaged: {error}", "remove it and run this again") from error
    finally:
        child.stdout.close()
        try:
            status = child.wait(timeout=QUERY_DEADLINE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            status = child.wait()
    if status:
        raise Problem(f"{deb} is damaged (dpkg-deb: status {status})",
                      "remove it and run this again")
    return count


def unpack_member(tar, member, path):
    """One member; 1 if it was a kind of file that is kept, else 0."""
    if member.isdir():
        os.makedirs(path, exist_ok=True)
        return 0
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if member.issym():
        os.symlink(member.linkname, path)
        return 1
    if not member.isfile():
        return 0
    with tar.extractfile(member) as source, open(path, "xb") as out:
        while True:
            block = source.read(1 << 20)
            if not block:
                break
            out.write(block)
    os.chmod(path, member.mode & 0o755)
    return 1
