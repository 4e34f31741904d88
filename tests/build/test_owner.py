# SPDX-License-Identifier: Apache-2.0
"""Whom commands run as: tools/as-root with a stub for sudo, tools/as-owner in trees of other owners."""

import os
import pwd
import re
import unittest

from stub_case import NO_SUDO, ROOT, SBIN, StubCase

# What the tests set themselves, for their own children.
SET_BY_TESTS = {"KATA_BUILD", "KATA_LAB"}
READ = re.compile(r'environ(?:\.get\(|\[)"(\w+)"(?!\] =)')
CONSTANT = re.compile(r'^(\w+_ENV) = "(\w+)"$', re.MULTILINE)


def scripts():
    """The text of every script that `make` may run as root."""
    for folder in ("tools", "tests", "guest"):
        for path, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                with open(os.path.join(path, name), "rb") as data:
                    text = data.read()
                if name.endswith(".py") or text.startswith(b"#!/usr/bin/python3"):
                    yield text.decode()


class AsRoot(StubCase):
    SCRIPTS = ("as-root",)
    REAL = ("env", "sh")

    def setUp(self):
        super().setUp()
        self.user(1000)
        with open(os.path.join(ROOT, "tools/as-root"), encoding="ascii") as text:
            self.names = re.search(r"^for name in (.*?); do", text.read(),
                                   re.MULTILINE | re.DOTALL).group(1).replace("\\\n", " ").split()

    def sudo(self):
        """As it is configured on Debian: the caller's environment is not passed on."""
        self.stub("sudo", 'exec /usr/bin/env -i "$@"')

    def environment(self, **env):
        """What the command sees of the caller's."""
        done = self.script("as-root", "env", "-0", env=env)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return dict(line.split("=", 1) for line in done.stdout.split("\0")[:-1])

    def test_root(self):
        self.user(0)
        self.sudo()
        done = self.script("as-root", "sh", "-c", 'echo "$# $1 $2"; exit 7', "sh", "a  b", "", env={"ANY": "1"})
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "2 a  b \n", ""))
        self.assertEqual(self.calls(), [])

    def test_sudo(self):
        self.sudo()
        done = self.script("as-root", "sh", "-c", 'echo "$# $1 $2"; exit 7', "sh", "a  b", "")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "2 a  b \n", ""))
        self.assertEqual(len(self.calls()), 1)

    @NO_SUDO
    def test_no_sudo(self):
        done = self.script("as-root", "sh", "-c", "echo no")
        self.assertEqual((done.returncode, done.stdout), (125, ""))
        self.assertEqual(done.stderr, "This needs root, and there is no sudo here. As root:\n"
                         f"  cd {self.tree} && sh -c echo no\n")

    def test_environment(self):
        self.sudo()
        given = {name: f"{name} 'of' \"mine\" $HOME =" for name in self.names}
        seen = self.environment(**given, KATA_OTHER="1", HOME="/nowhere")
        seen.pop("PATH")
        self.assertEqual({name: seen[name] for name in seen if name not in ("PWD", "SHLVL", "_")}, given)

    def test_unset_stays_unset(self):
        self.sudo()
        self.assertFalse(set(self.environment(YES="")) & set(self.names))

    def test_path(self):
        """The caller's, and behind it what an ordinary user's lacks on Debian."""
        for uid in (0, 1000):
            self.user(uid)
            self.sudo()
            self.assertEqual(self.environment()["PATH"], f"{self.bin}:{SBIN}")

    def test_nothing_forgotten(self):
        """Every variable that a script of ours reads is passed on."""
        read = set()
        for text in scripts():
            read.update(READ.findall(text))
            read.update(value for _, value in CONSTANT.findall(text))
        self.assertLessEqual({"CI_FAST", "KATA_CACHE"}, read)
        self.assertEqual(read - SET_BY_TESTS - {"PATH"} - set(self.names), set())


WHO = 'id -u; id -g; id -G; echo "$HOME"; echo "$USER"; pwd; : >made'


class OwnerCase(StubCase):
    SCRIPTS = ("as-owner",)

    def run_as_owner(self, *argv):
        return self.script("as-owner", *argv, path=f"{self.bin}:{os.environ['PATH']}",
                           env={"HOME": "/caller", "USER": "caller"},
                           extra_groups=(0, 1300) if os.geteuid() == 0 else None)

    def who(self):
        done = self.run_as_owner("sh", "-c", WHO)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(os.stat(os.path.join(self.tree, "made")).st_uid, int(done.stdout.split("\n", 1)[0]))
        return done.stdout.splitlines()


class AsOwner(OwnerCase):
    def test_root_in_its_own_tree(self):
        """The command just runs."""
        if os.geteuid() != 0:
            self.skipTest("root's own tree needs root")
        self.stub("setpriv", "exit 1")
        uid, gid, _, home, user, _ = self.who()
        self.assertEqual((uid, gid, home, user), ("0", str(os.getegid()), "/caller", "caller"))
        self.assertEqual(self.calls(), [])

    def test_caller_who_is_not_root(self):
        """The command just runs, whoever owns the tree."""
        self.stub("setpriv", "exit 1")
        if os.geteuid() == 0:
            os.chown(self.tree, 1234, 1234)
        self.user(1000)
        done = self.run_as_owner("sh", "-c", 'echo "$HOME $# $1"; exit 7', "sh", "a  b")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "/caller 1 a  b\n", ""))
        self.assertEqual(self.calls(), [])
        self.assertFalse(os.path.exists(os.path.join(self.tree, "build")))


@unittest.skipUnless(os.geteuid() == 0, "a tree of another owner needs root")
class AsOwnerOfAnother(OwnerCase):
    def give(self, uid, gid):
        os.chown(self.tree, uid, gid)
        self.home = os.path.join(self.tree, "build/home")

    def test_owner_without_a_name(self):
        uid = next(uid for uid in range(1234, 60000) if uid not in {one.pw_uid for one in pwd.getpwall()})
        self.give(uid, uid + 1)
        for _ in range(2):  # with and without the home made already
            self.assertEqual(self.who(), [str(uid), str(uid + 1), str(uid + 1), self.home, "", self.tree])
            found = os.stat(self.home)
            self.assertEqual((found.st_uid, found.st_gid), (uid, uid + 1))

    def test_owner_with_a_name(self):
        """Of the groups as well, and a home that is not there is none."""
        entry = next((one for one in pwd.getpwall() if one.pw_uid and not os.path.exists(one.pw_dir)), None)
        if not entry:
            self.skipTest("every user of this machine has a home")
        self.give(entry.pw_uid, entry.pw_gid)
        uid, gid, groups, home, name, _ = self.who()
        self.assertEqual((uid, gid, home, name), (str(entry.pw_uid), str(entry.pw_gid), self.home, entry.pw_name))
        self.assertEqual(set(map(int, groups.split())), set(os.getgrouplist(entry.pw_name, entry.pw_gid)))

    def test_status_and_arguments(self):
        self.give(1234, 1234)
        done = self.run_as_owner("sh", "-c", 'echo "$# $1 $2"; exit 7', "sh", "a  b", "")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "2 a  b \n", ""))

    def test_owner_who_cannot_write(self):
        self.give(1234, 1234)
        os.mkdir(os.path.join(self.tree, "build"), 0o755)
        done = self.run_as_owner("id", "-u")
        self.assertEqual((done.returncode, done.stdout), (0, "0\n"))
        self.assertIn(f"the owner of {self.tree} (user 1234) cannot write there: going on as root\n", done.stderr)


if __name__ == "__main__":
    unittest.main()
