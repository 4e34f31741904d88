# SPDX-License-Identifier: Apache-2.0
"""kata-runtime: what it says of this host."""
import json
import os
import subprocess
import tempfile
import tomllib
import unittest

from kata_case import BIN

KERNEL = "any"
LAB = "full"
ETC = "/etc/kata-containers"
PROGRAM = os.path.join(BIN, "kata-runtime")


# What upstream's env has, in its order, but for Hypervisor.SecurityInfo.Rootless.
MEMBERS = """
Meta.Version Kernel.Path Kernel.Parameters Image.Path Initrd.Path
Hypervisor.MachineType Hypervisor.Version Hypervisor.Path Hypervisor.BlockDeviceDriver Hypervisor.EntropySource
Hypervisor.SharedFS Hypervisor.VirtioFSDaemon Hypervisor.SocketPath Hypervisor.Msize9p Hypervisor.MemorySlots
Hypervisor.HotPlugVFIO Hypervisor.ColdPlugVFIO Hypervisor.PCIeRootPort Hypervisor.PCIeSwitchPort Hypervisor.Debug
Hypervisor.SecurityInfo.DisableSeccomp Hypervisor.SecurityInfo.GuestHookPath
Hypervisor.SecurityInfo.EnableAnnotations Hypervisor.SecurityInfo.ConfidentialGuest
Runtime.Config.Path Runtime.Path Runtime.GuestSeLinuxLabel Runtime.Experimental Runtime.Version.OCI
Runtime.Version.Version.Semver Runtime.Version.Version.Commit Runtime.Version.Version.Major
Runtime.Version.Version.Minor Runtime.Version.Version.Patch Runtime.Debug Runtime.Trace
Runtime.DisableGuestSeccomp Runtime.DisableNewNetNs Runtime.SandboxCgroupOnly
Host.AvailableGuestProtections Host.Kernel Host.Architecture Host.Distro.Name Host.Distro.Version Host.CPU.Vendor
Host.CPU.Model Host.CPU.CPUs Host.Memory.Total Host.Memory.Free Host.Memory.Available Host.VMContainerCapable
Host.SupportVSocks Agent.Debug Agent.Trace""".split()


def flat(table, prefix=""):
    """Names of the values in a tree of tables, in their order."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def call(*args, env=None):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=60, check=False,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})


class Env(unittest.TestCase):
    def config(self, text):
        f = tempfile.NamedTemporaryFile("w", suffix=".toml")  # pylint: disable=consider-using-with
        self.addCleanup(f.close)
        f.write(text)
        f.flush()
        return f.name

    def env(self, *args):
        done = call(*args)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_both_forms_agree(self):
        one, other = tomllib.loads(self.env("env")), json.loads(self.env("kata-env", "--json"))
        for found in (one, other):
            for key in ("Free", "Available"):
                found["Host"]["Memory"].pop(key)
        self.assertEqual(one, other)
        self.assertEqual(one["Meta"]["Version"], "1.0.27")
        self.assertEqual(one["Host"]["Kernel"], os.uname().release)
        self.assertIn(one["Host"]["Acceleration"], ("kvm", "tcg"))
        self.assertEqual(one["Host"]["VMContainerCapable"], one["Host"]["Acceleration"] == "kvm")
        self.assertIn("QEMU", one["Hypervisor"]["Version"])
        self.assertIs(one["Runtime"]["DisableGuestSeccomp"], True)
        for part in ("Kernel", "Initrd"):
            self.assertTrue(os.path.exists(one[part]["Path"]), one[part])

    def test_members_of_upstream(self):
        found = json.loads(self.env("env", "--json"))
        self.assertEqual([name for name in flat(found) if name in MEMBERS], MEMBERS)
        self.assertNotIn("Rootless", found["Hypervisor"]["SecurityInfo"])  # the start of a sandbox decides
        self.assertEqual((found["Hypervisor"]["SocketPath"], found["Hypervisor"]["Msize9p"]), ("", 512000))
        self.assertIsInstance(found["Host"]["AvailableGuestProtections"], list)

    def test_what_is_configured(self):
        path = self.config('[hypervisor.qemu]\nkernel_params = "quiet \\"x\\\\y\\""\n'
                           'machine_type = "microvm"\nshared_fs = "virtio-9p"\n'
                           'memory_slots = 7\ndefault_vcpus = 1.5\nvirtio_fs_extra_args = ["-o", "x"]\n'
                           '[runtime]\ndisable_guest_seccomp = false\n')
        for options in (("--config", path), ("--kata-config=" + path,)):
            found = tomllib.loads(self.env(*options, "env"))
            self.assertEqual(found["Runtime"]["Config"]["Path"], path)
            self.assertEqual(found["Kernel"]["Parameters"], 'quiet "x\\y"')
            self.assertEqual(found["Hypervisor"]["MachineType"], "microvm")
            self.assertEqual(found["Hypervisor"]["SharedFS"], "virtio-9p")
            self.assertEqual(found["Hypervisor"]["MemorySlots"], 7)
            self.assertEqual(found["Hypervisor"]["DefaultVCPUs"], 1.5)
            self.assertEqual(found["Hypervisor"]["VirtioFSExtraArgs"], ["-o", "x"])
            self.assertIs(found["Runtime"]["DisableGuestSeccomp"], False)

    def test_whether_qemu_filters_system_calls(self):
        for words, disabled in (("", False), ("on,spawn=deny", False), ("off", True), ("on,enable=off", True)):
            path = self.config(f'[hypervisor.qemu]\nseccomp_sandbox = "{words}"\n')
            found = tomllib.loads(self.env("--config", path, "env"))["Hypervisor"]["SecurityInfo"]
            self.assertIs(found["DisableSeccomp"], disabled, words)
            self.assertEqual(found["SeccompSandbox"], words)

    def test_host_without_programs_or_guest(self):
        path = self.config('[hypervisor.qemu]\npath = "/nowhere/qemu"\nkernel = "/nowhere/vmlinux"\n')
        found = tomllib.loads(self.env("--config", path, "env"))
        self.assertEqual(found["Kernel"]["Path"], "/nowhere/vmlinux")
        self.assertEqual(found["Hypervisor"]["Path"], "/nowhere/qemu")
        self.assertEqual(found["Hypervisor"]["Version"], "")

    def test_refused(self):
        wrong = self.config("[hypervisor.qemu]\ndefalt_memory = 1\n")
        for args, words in ((("--config", wrong, "env"), (wrong + ":2", "default_memory")),
                            (("--config", "/nowhere", "env"), ("/nowhere",)),
                            (("env", "--yaml"), ("--yaml",)), (("env", "x"), ("'x'",)),
                            (("policy",), ("'policy' is no command",)), (("--nope",), ("--nope",))):
            done = call(*args)
            self.assertEqual((done.returncode, done.stdout), (1, ""), args)
            self.assertRegex(done.stderr, "^kata-runtime: [^\\n]*\\n$")
            for word in words:
                self.assertIn(word, done.stderr)

    @unittest.skipIf(os.geteuid() != 0, "needs root")
    def test_files_below_etc(self):
        """The place of upstream's runtime in Rust comes after the usual one; a link must lead somewhere."""
        if not os.path.isdir(ETC):
            os.mkdir(ETC)
            self.addCleanup(os.rmdir, ETC)
        mount = ["mount", "-t", "tmpfs", "kata-test", ETC]  # of this mount namespace, see kata_case
        subprocess.run(mount, check=True, timeout=10)
        self.addCleanup(subprocess.run, ["umount", ETC], check=True, timeout=10)
        os.mkdir(ETC + "/runtime-rs")
        other, usual = ETC + "/runtime-rs/configuration.toml", ETC + "/configuration.toml"
        with open(self.config("[hypervisor.qemu]\n"), encoding="ascii") as shared:
            os.symlink(shared.name, other)
            used = call("env", env={"KATA_CONF_FILE": ""})
            self.assertEqual(tomllib.loads(used.stdout)["Runtime"]["Config"]["Path"], other)
        with open(usual, "w", encoding="ascii"):
            pass
        used = call("env", env={"KATA_CONF_FILE": ""})
        self.assertEqual(tomllib.loads(used.stdout)["Runtime"]["Config"]["Path"], usual)
        os.unlink(usual)
        os.unlink(other)
        os.symlink("/nowhere/configuration.toml", other)
        done = call("env", env={"KATA_CONF_FILE": ""})
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("load TOML config failed: ", done.stderr)
        self.assertIn(other, done.stderr)

    def test_other_words(self):
        self.assertRegex(self.env("--version"), r"^kata-runtime  : \S+\n   commit   : \w+\n   OCI specs: 1\.\S+\n$")
        self.assertIn("/etc/kata-containers/configuration.toml\n", self.env("--show-default-config-paths"))
        for args in (("--help",), ("env", "--help"), ("--man",)):
            self.assertIn("--json" if args[0] == "env" else "env", self.env(*args).replace("\\-", "-"))
        self.assertEqual(call().returncode, 1)

    def test_output_that_cannot_be_written(self):
        kata = os.path.join(BIN, "kata")
        for call_of in ((PROGRAM, "env"), (PROGRAM, "--help"), (PROGRAM, "--man"), (PROGRAM, "--version"),
                        (kata, "--help"), (kata, "--man"), (kata, "--version")):
            with open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run(call_of, stdout=full, stderr=subprocess.PIPE, text=True,
                                      timeout=60, check=False)
            self.assertNotEqual(done.returncode, 0, call_of)
            self.assertIn("No space left", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
