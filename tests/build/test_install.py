# SPDX-License-Identifier: Apache-2.0
"""make install and make uninstall, with a build directory of our own making."""

import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INSTALL = os.path.join(ROOT, "tools/install")
BUILT = {
    "bin/kata": None,
    "bin/containerd-shim-kata-v2": None,
    "libexec/kata-stand-in": None,
    "guest/vmlinux": b"kernel",
    "guest/initrd": b"initrd",
    "guest/kernel.info": b"version=1\n",
    "host/src/config/configuration.toml": b"[hypervisor.qemu]\n",
}
INSTALLED = {
    "bin/kata", "bin/containerd-shim-kata-v2", "libexec/kata-stand-in",
    "share/kata-containers/vmlinux.container",
    "share/kata-containers/kata-containers-initrd.img",
    "share/kata-containers/kernel.info", "share/kata-containers/.manifest",
    "share/defaults/kata-containers/configuration.toml",
    "share/defaults/kata-containers/configuration-qemu.toml",
    "share/doc/kata-containers/LICENSE", "share/doc/kata-containers/README.md",
}
CONFIGURATION = "share/defaults/kata-containers/configuration.toml"


def tree(base):
    return {os.path.relpath(os.path.join(path, name), base)
            for path, _, files in os.walk(base) for name in files}


class InstallTest(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top)
        self.build = os.path.join(self.top, "build")
        self.dest = os.path.join(self.top, "dest")
        self.base = os.path.join(self.dest, "opt/kata")
        for name, data in BUILT.items():
            path = os.path.join(self.build, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if data is None:
                shutil.copy("/bin/true", path)
            else:
                with open(path, "wb") as out:
                    out.write(data)

    def call(self, action, prefix="/opt/kata"):
        return subprocess.run([INSTALL, action, "--prefix", prefix, "--destdir", self.dest,
                               "--build", self.build], capture_output=True, text=True,
                              timeout=60, check=False)

    def install(self):
        done = self.call("install")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_layout(self):
        self.install()
        self.assertEqual(tree(self.base), INSTALLED)
        for name in ("bin/kata", "libexec/kata-stand-in"):
            path = os.path.join(self.base, name)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o755)
            self.assertEqual(subprocess.run([path], check=False).returncode, 0)
        with open(os.path.join(self.base, "share/kata-containers/vmlinux.container"),
                  "rb") as kernel:
            self.assertEqual(kernel.read(), b"kernel")

    def test_configuration_of_the_monitor(self):
        """The name that upstream's guides give to --config: the same file, also after an edit."""
        folder = os.path.join(self.base, "share/defaults/kata-containers")
        for count in (1, 2):  # again over what is there
            self.install()
            with open(os.path.join(folder, "configuration.toml"), "a", encoding="utf-8") as main:
                main.write("# mine\n")
            with open(os.path.join(folder, "configuration-qemu.toml"), encoding="utf-8") as other:
                self.assertEqual(other.read(), "[hypervisor.qemu]\n" + "# mine\n" * count)

    def test_no_configuration_no_link(self):
        os.unlink(os.path.join(self.build, "host/src/config/configuration.toml"))
        self.install()
        self.assertFalse(os.path.lexists(os.path.join(self.base, "share/defaults")))

    def test_nothing_left(self):
        self.install()
        done = self.call("uninstall")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(os.path.exists(self.dest))  # nothing above the prefix either

    def test_what_is_above_stays_if_it_was_there(self):
        os.makedirs(self.dest)
        self.install()
        self.assertEqual(self.call("uninstall").returncode, 0)
        self.assertEqual(os.listdir(self.dest), [])

    def test_everybody_may_look(self):
        before = os.umask(0o077)
        try:
            self.install()
        finally:
            os.umask(before)
        for name in ("", "bin", "share/kata-containers"):
            self.assertEqual(os.stat(os.path.join(self.base, name)).st_mode & 0o777, 0o755, name)

    def test_foreign_files_stay(self):
        foreign = {"bin/other": b"x", "share/kata-containers/own.toml": b"y"}
        os.makedirs(os.path.join(self.base, "bin"))
        with open(os.path.join(self.base, "bin/other"), "wb") as out:
            out.write(foreign["bin/other"])
        self.install()
        with open(os.path.join(self.base, "share/kata-containers/own.toml"), "wb") as out:
            out.write(foreign["share/kata-containers/own.toml"])
        self.assertEqual(self.call("uninstall").returncode, 0)
        self.assertEqual(tree(self.base), set(foreign))
        # An empty directory that was there before would have stayed as well.
        self.assertFalse(os.path.exists(os.path.join(self.base, "libexec")))

    def test_anothers_program(self):
        path = os.path.join(self.base, "bin/kata")
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as out:
            out.write(b"theirs")
        done = self.call("install")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{path} is there and was not installed", done.stderr)
        self.assertEqual(tree(self.base), {"bin/kata"})

    def edit(self, text):
        with open(os.path.join(self.base, CONFIGURATION), "w", encoding="ascii") as out:
            out.write(text)

    def configuration(self, suffix=""):
        with open(os.path.join(self.base, CONFIGURATION + suffix), encoding="ascii") as text:
            return text.read()

    def test_edited_configuration(self):
        self.install()
        self.edit("# mine\n")
        for _ in range(2):  # nor by the one after
            self.assertIn("was edited and stays", self.install())
            self.assertEqual(self.configuration(), "# mine\n")
            self.assertEqual(self.configuration(".new"), "[hypervisor.qemu]\n")
        self.assertIn("was edited and stays", self.call("uninstall").stdout)
        self.assertEqual(tree(self.base), {CONFIGURATION})
        self.install()
        self.assertEqual(self.configuration(), "# mine\n")

    def test_edited_configuration_taken_back(self):
        self.install()
        self.edit("# mine\n")
        self.install()
        self.edit(self.configuration(".new"))
        self.install()
        self.assertEqual(tree(self.base), INSTALLED)
        self.assertEqual(self.call("uninstall").returncode, 0)
        self.assertFalse(os.path.exists(self.dest))

    def test_cut_short(self):
        """Ended when the new configuration is in its place, and the list not: nobody has edited it."""
        self.install()
        with open(os.path.join(self.build, "host/src/config/configuration.toml"), "w", encoding="ascii") as out:
            out.write("# another version\n")
        bad = os.path.join(self.build, "host/docs/man/unreadable.1")
        os.makedirs(os.path.dirname(bad))
        os.symlink("nothing", bad)
        self.assertEqual(self.call("install").returncode, 1)
        self.assertEqual(self.configuration(), "# another version\n")
        self.assertNotIn("edited", self.call("uninstall").stdout)
        self.assertFalse(os.path.exists(self.base))

    def test_link_that_became_a_file(self):
        """As `sed -i` makes one of it."""
        self.install()
        path = os.path.join(self.base, os.path.dirname(CONFIGURATION), "configuration-qemu.toml")
        os.unlink(path)
        with open(path, "w", encoding="ascii") as out:
            out.write("# mine\n")
        self.assertIn("was edited and stays", self.install())
        self.assertIn("was edited and stays", self.call("uninstall").stdout)
        with open(path, encoding="ascii") as text:
            self.assertEqual(text.read(), "# mine\n")

    def test_file_that_became_a_link(self):
        self.install()
        mine, path = os.path.join(self.top, "mine.toml"), os.path.join(self.base, CONFIGURATION)
        with open(mine, "w", encoding="ascii") as out:
            out.write("# mine\n")
        os.unlink(path)
        os.symlink(mine, path)
        self.assertIn("was edited and stays", self.install())
        self.assertEqual(os.readlink(path), mine)
        self.assertEqual(self.call("uninstall").returncode, 0)
        self.assertEqual(os.readlink(path), mine)

    def test_edited_and_no_longer_built(self):
        self.install()
        self.edit("# mine\n")
        os.unlink(os.path.join(self.build, "host/src/config/configuration.toml"))
        self.install()
        self.assertEqual(self.configuration(), "# mine\n")

    def test_new_configuration(self):
        self.install()
        with open(os.path.join(self.build, "host/src/config/configuration.toml"), "w", encoding="ascii") as out:
            out.write("# another version\n")
        self.install()
        self.assertEqual(self.configuration(), "# another version\n")
        self.assertEqual(tree(self.base), INSTALLED)

    def test_relative_destination(self):
        self.dest = os.path.relpath(self.dest)
        self.install()
        self.assertEqual(tree(self.base), INSTALLED)
        os.chdir(self.top)
        self.addCleanup(os.chdir, ROOT)
        self.dest = "new"
        self.install()
        self.assertEqual(tree(os.path.join(self.top, "new/opt/kata")), INSTALLED)

    def test_directories_of_others_stay(self):
        os.makedirs(os.path.join(self.base, "libexec"))
        self.install()
        self.assertEqual(self.call("uninstall").returncode, 0)
        self.assertEqual(os.listdir(self.base), ["libexec"])

    def test_again_removes_what_is_no_more(self):
        self.install()
        os.unlink(os.path.join(self.build, "bin/containerd-shim-kata-v2"))
        self.install()
        self.assertEqual(tree(self.base), INSTALLED - {"bin/containerd-shim-kata-v2"})
        self.assertEqual(self.call("uninstall").returncode, 0)
        self.assertFalse(os.path.exists(self.base))

    def test_missing_parts(self):
        os.unlink(os.path.join(self.build, "guest/vmlinux"))
        done = self.call("install")
        self.assertEqual(done.returncode, 1)
        self.assertIn("vmlinux", done.stderr)
        self.assertFalse(os.path.exists(self.dest))

    def test_uninstall_of_nothing(self):
        done = self.call("uninstall")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing is installed", done.stderr)

    def test_hostile_manifest(self):
        self.install()
        victim = os.path.join(self.dest, "victim")
        with open(victim, "wb"):
            pass
        with open(os.path.join(self.base, "share/kata-containers/.manifest"), "a",
                  encoding="utf-8") as out:
            out.write("../../victim\n")
        done = self.call("uninstall")
        self.assertEqual(done.returncode, 1)
        self.assertTrue(os.path.exists(victim))
        self.assertTrue(os.path.exists(os.path.join(self.base, "bin/kata")))

    def test_relative_prefix(self):
        self.assertEqual(self.call("install", "opt").returncode, 2)


if __name__ == "__main__":
    unittest.main()
