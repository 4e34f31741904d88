# SPDX-License-Identifier: Apache-2.0
"""packages.list, and tools/packages with a list and a machine of our own making: nothing is installed."""

import contextlib
import os
import pty
import re
import subprocess
import unittest

from stub_case import NO_SUDO, ROOT, StubCase

LIST = """\
# groups    package        only on   found                      what for
build       kt-tool        -         kt-tool                    a program
build,run   kt-both        -         kt-both                    in two groups
build       libc6-dev      -         h:stdio.h                  a header that is there
run         kt-old         12        d:                         old releases
run         kt-new         13        d:                         new releases
run         kt-pc          amd64     d:                         PCs
run         kt-new-pc      13,amd64  d:                         new releases on PCs
check       kt-file        -         f:/kt-nowhere|{file}       a file at one of two places
check       kt-no-file     -         f:/kt-nowhere|/kt-nor-here a file that is not there
check       kt-header-dev  -         h:kt-nowhere.h             a header that is not there
"""
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux {0}"\nID=debian\nVERSION_ID="{0}"\n'
SID = 'PRETTY_NAME="Debian GNU/Linux forky/sid"\nID=debian\n'
FEDORA = 'PRETTY_NAME="Fedora Linux 42"\nID=fedora\nVERSION_ID=42\n'
BUILD, RUN_12 = ["kt-tool", "kt-both"], ["kt-both", "kt-old", "kt-pc"]
APT_GET = """
[ "$1" = install ] || exit 0
for word; do
	case $word in
	install | -*) ;;
	*) /bin/ln -s /bin/true "{bin}/$word" ;;
	esac
done"""
INSTALL = "apt-get install -q -y --no-install-recommends "


class Packages(StubCase):
    SCRIPTS = ("packages",)
    REAL = ("cut", "dirname", "env", "grep", "head", "sed", "tr")

    def setUp(self):
        super().setUp()
        self.write("tree/packages.list", LIST.format(file=self.path("os-release")))
        self.machine(DEBIAN.format(12))
        self.user(0)
        self.stub("dpkg-query", f'[ -x "{self.bin}/$4" ] && printf installed', quiet=True)
        self.stub("apt-get", APT_GET.format(bin=self.bin))
        self.stub("apt-cache", quiet=True)

    def machine(self, release, name="x86_64"):
        self.write("os-release", release)
        self.stub("uname", f"echo {name}", quiet=True)

    def packages(self, *argv, **env):
        return self.script("packages", *argv, env={"KATA_OS_RELEASE": self.path("os-release"), **env})

    def missing(self, *groups):
        done = self.packages("missing", *groups)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def have(self, *names):
        for name in names:
            self.stub(name)

    def assert_named(self, text, names):
        self.assertEqual(re.findall(r"^  (\S+) ", text, re.MULTILINE), names)

    def test_releases(self):
        new = ["kt-both", "kt-new", "kt-pc", "kt-new-pc"]
        for release, name, wanted in ((DEBIAN.format(12), "x86_64", RUN_12),
                                      (DEBIAN.format(13), "x86_64", new),
                                      (DEBIAN.format(14), "x86_64", new), (SID, "x86_64", new),
                                      (DEBIAN.format(12), "aarch64", ["kt-both", "kt-old"]),
                                      (DEBIAN.format(13), "aarch64", ["kt-both", "kt-new"])):
            with self.subTest(release=release, machine=name):
                self.machine(release, name)
                self.assertEqual(self.missing("run"), wanted)

    def test_groups(self):
        self.assertEqual(self.missing("build"), BUILD)
        self.assertEqual(self.missing("check"), ["kt-no-file", "kt-header-dev"])
        self.assertEqual(self.missing("run", "build"), ["kt-tool", *RUN_12])
        self.assertEqual(self.missing(), ["kt-tool", *RUN_12])

    def test_what_is_there(self):
        """A program of any origin will do, and where dpkg is asked, the package alone."""
        self.have("kt-tool", "kt-pc")
        self.assertEqual(self.missing("build", "run"), ["kt-both", "kt-old"])

    def test_nothing_missing(self):
        """Nothing is said, asked or run."""
        self.have("kt-tool", *RUN_12)
        for uid in (0, 1000):
            self.user(uid)
            for action in ("missing", "check", "install"):
                done = self.packages(action, "build", "run")
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), action)
        self.assertEqual(self.calls(), [])

    def check(self, line):
        done = self.packages("check", "build")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("These packages are missing:\n", done.stderr)
        self.assert_named(done.stderr, BUILD)
        self.assertEqual(done.stderr.splitlines()[-1], f"Install them:  {line}apt-get install kt-tool kt-both")
        self.assertEqual(self.calls(), [])

    def test_check(self):
        self.check("")
        self.user(1000)
        self.stub("sudo")
        self.check("sudo ")

    @NO_SUDO
    def test_check_without_sudo(self):
        self.user(1000)
        self.check("(as root) ")

    def test_other_distributions(self):
        """What is missing is named, by whichever command, and nothing is installed."""
        for release, name in ((FEDORA, "Fedora Linux 42"), (DEBIAN.format(11), "Debian GNU/Linux 11")):
            self.machine(release)
            for action in ("check", "install"):
                with self.subTest(name=name, action=action):
                    done = self.packages(action, "build", YES="1")
                    self.assertEqual((done.returncode, done.stdout), (1, ""))
                    self.assertIn(f"This is not Debian 12 or newer ({name}), so nothing is installed here.\n",
                                  done.stderr)
                    self.assert_named(done.stderr, BUILD)
                    self.assertNotIn("apt-get", done.stderr)
        self.assertEqual(self.calls(), [])

    def test_without_dpkg(self):
        """Packages of which nothing but dpkg could tell are not asked for."""
        self.machine(FEDORA)
        os.unlink(self.path("bin/dpkg-query"))
        self.assertEqual(self.missing("run"), ["kt-both"])
        os.unlink(self.path("os-release"))
        self.assertEqual(self.missing("run"), ["kt-both"])

    def install(self, names, status=0, **env):
        done = self.packages("install", "build", **env)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertIn("Packages to install:\n", done.stderr)
        self.assert_named(done.stderr, names)
        return self.calls()

    def test_install(self):
        self.assertEqual(self.install(BUILD, YES="1"), [INSTALL + "kt-tool kt-both"])
        self.assertEqual(self.missing("build"), [])

    def test_install_the_missing_only(self):
        self.have("kt-both")
        self.assertEqual(self.install(["kt-tool"], YES="1"), [INSTALL + "kt-tool"])

    def test_install_through_sudo(self):
        self.user(1000)
        self.stub("sudo", 'exec "$@"')
        self.assertEqual(self.install(BUILD, YES="1"),
                         [f"sudo env DEBIAN_FRONTEND=noninteractive {INSTALL}kt-tool kt-both",
                          INSTALL + "kt-tool kt-both"])

    @NO_SUDO
    def test_install_without_sudo(self):
        """What root is to type is said."""
        self.user(1000)
        done = self.packages("install", "build", YES="1")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assert_named(done.stderr, BUILD)
        self.assertEqual(done.stderr.splitlines()[-2:],
                         ["Install them:  (as root) apt-get install kt-tool kt-both",
                          "This user is not root and there is no sudo: run the line above as root."])
        self.assertEqual(self.calls(), [])

    def test_install_without_terminal(self):
        """Nobody is there to be asked: the call is the answer."""
        self.assertEqual(self.install(BUILD), [INSTALL + "kt-tool kt-both"])

    def on_terminal(self, answer, **env):
        """Status and text of an installation with a terminal that has `answer` to say."""
        master, slave = pty.openpty()
        try:
            os.write(master, answer)
            status = subprocess.run([self.path("tree/tools/packages"), "install", "build"], stdin=slave,
                                    stdout=subprocess.DEVNULL, stderr=slave, timeout=60, check=False,
                                    env={"PATH": self.bin, "KATA_OS_RELEASE": self.path("os-release"),
                                         **env}).returncode
        finally:
            os.close(slave)
        text = b""
        with open(master, "rb", buffering=0) as said, contextlib.suppress(OSError):  # EIO at its end
            while data := said.read(4096):
                text += data
        return status, text.decode()

    def test_no_on_a_terminal(self):
        for answer in (b"n\n", b"what?\n", b"\x04"):
            with self.subTest(answer=answer):
                status, text = self.on_terminal(answer)
                self.assertEqual(status, 1)
                self.assertEqual(text.count("Install them now? [Y/n]"), 1)
                self.assertIn("Nothing installed.", text)
                self.assertEqual(self.calls(), [])

    def test_yes_on_a_terminal(self):
        for answer in (b"\n", b"y\n", b"Yes\n"):
            with self.subTest(answer=answer):
                status, text = self.on_terminal(answer)
                self.assertEqual(status, 0)
                self.assertEqual(text.count("Install them now? [Y/n]"), 1)
                self.assertEqual(self.calls(), [INSTALL + "kt-tool kt-both"])
                for name in BUILD:
                    os.unlink(self.path(f"bin/{name}"))

    def test_yes_beforehand_on_a_terminal(self):
        status, text = self.on_terminal(b"n\n", YES="1")
        self.assertEqual(status, 0)
        self.assertNotIn("now?", text)
        self.assertEqual(self.calls(), [INSTALL + "kt-tool kt-both"])

    def test_unknown_to_apt(self):
        """The lists of a machine that has never had any."""
        self.stub("apt-cache", "exit 100", quiet=True)
        self.assertEqual(self.install(BUILD), ["apt-get -q update", INSTALL + "kt-tool kt-both"])

    def test_second_try(self):
        """With new lists, in case that the old ones name what a mirror no longer has."""
        once = self.path("once")
        self.stub("apt-get", f'[ "$1" != install ] || [ -e {once} ] || {{ : >{once}; exit 100; }}\n'
                  + APT_GET.format(bin=self.bin))
        line = INSTALL + "kt-tool kt-both"
        self.assertEqual(self.install(BUILD), [line, "apt-get -q update", line])

    def test_apt_fails(self):
        self.stub("apt-get", '[ "$1" != install ] || exit 100')
        line = INSTALL + "kt-tool kt-both"
        self.assertEqual(self.install(BUILD, 100), [line, "apt-get -q update", line])

    def test_still_missing(self):
        """The package is there, and what it was to bring is not."""
        done = self.packages("install", "check")
        self.assertEqual(done.returncode, 1)
        self.assertIn("These packages are missing:\n", done.stderr)
        self.assertEqual(self.calls(), [INSTALL + "kt-no-file kt-header-dev"])

    def test_unknown_group(self):
        """A group without rows would otherwise have everything there."""
        for action in ("missing", "check", "install"):
            for group in ("builds", "uild", "build,run", "#", "kt-tool"):
                with self.subTest(action=action, group=group):
                    done = self.packages(action, "build", group)
                    self.assertEqual((done.returncode, done.stdout), (2, ""))
                    self.assertIn(f"packages.list has no group {group}", done.stderr)
        self.assertEqual(self.calls(), [])

    def test_usage(self):
        for argv in ((), ("installs",), ("installs", "build")):
            done = self.packages(*argv)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("usage: tools/packages", done.stderr)
        self.assertEqual(self.calls(), [])


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as text:
        return text.read()


def rows():
    return [line.split(None, 4) for line in read("packages.list").splitlines() if line[:1] not in ("", "#")]


def explained():
    """The groups that the list's head explains: each at the start of a line or behind a gap or ";"."""
    text = re.search(r"^#   groups (.*?)^#   only on", read("packages.list"), re.MULTILINE | re.DOTALL).group(1)
    names, alone = set(), False
    for line in text.splitlines():
        for part in filter(None, re.split(r";\s*|\s{2,}", line.strip("# "))):
            name, space, _ = part.partition(" ")
            if not alone:
                names.add(name)
            alone = not alone and not space
    return names


class List(unittest.TestCase):
    ASKED = re.compile(r"tools/packages (?:missing|check|install)((?: [a-z-]+)+)")

    def test_columns(self):
        self.assertTrue(rows())
        for row in rows():
            with self.subTest(row=row):
                self.assertEqual(len(row), 5)
                groups, package, only, found, _ = row
                self.assertRegex(groups, r"^[a-z-]+(,[a-z-]+)*$")
                self.assertRegex(package, r"^[a-z0-9][a-z0-9+.-]+$")
                self.assertRegex(only, r"^(-|(12|13|amd64|arm64)(,(12|13|amd64|arm64))*)$")
                self.assertRegex(found, r"^(d:|h:\w[\w./-]+|f:/[^|:]+(\|/[^|:]+)*|\w[\w.+-]+)$")

    def test_groups(self):
        """Each is explained in the list's head, and what is explained there has rows."""
        used = {group for row in rows() for group in row[0].split(",")}
        self.assertEqual(explained(), used)

    def test_asked_groups(self):
        """Whoever asks for packages names groups that there are."""
        used = {group for row in rows() for group in row[0].split(",")}
        asked = set()
        for name in ("Makefile", "tools/run", "tools/lint", "tests/run", "tests/lab/mkroot"):
            found = " ".join(self.ASKED.findall(read(name).replace('", "', " "))).split()
            self.assertTrue(found, name)
            asked.update(found)
        self.assertLessEqual(asked, used)
        self.assertLessEqual({"build", "run", "check"}, asked)


if __name__ == "__main__":
    unittest.main()
