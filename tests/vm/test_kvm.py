# SPDX-License-Identifier: Apache-2.0
"""A sandbox on hardware virtualisation: KVM runs the guest, vhost-vsock reaches its agent.

What is used is read from the monitor's process, not from what anybody says about it.
"""
import os
import re
import unittest

from bad_case import BadCase, wait_until
from kata_case import BUILD, processes

LAB = "quick any-accel"
NEEDS = "kvm vhost-vsock"
PROGRAMS = os.path.join(BUILD, "host/tests/vm")


def opened(pid):
    """What a process has open."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
    return found


def cid_of(pid):
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as line:
        found = re.search(r"guest-cid=(\d+)", line.read())
    return int(found.group(1)) if found else None


class Kvm(BadCase):
    def monitor(self, known=()):
        """The process id of the one QEMU that is not known yet."""
        found = [pid for pid, name in processes().items()
                 if name.startswith("qemu") and pid not in known]
        self.assertEqual(len(found), 1)
        return found[0]

    def detached(self, name, config=None):
        done = self.call("run", "-d", "--name", name, "--network", "none", "busybox", "sleep",
                         "1000", config=config, within=120)
        self.assertEqual(done.returncode, 0, done.stderr)

    def log(self, name):
        with open(os.path.join(self.inspect(name)["directory"], "shim.log"), encoding="utf-8") as f:
            return f.read()

    def test_chosen_by_default(self):
        self.detached("a")
        files = opened(self.monitor())
        self.assertIn("anon_inode:kvm-vcpu:0", files)
        self.assertIn("/dev/vhost-vsock", files)
        self.assertRegex(self.log("a"), r"acceleration: kvm \(guest code ran in \d+ ms")
        self.assertIn("agent transport: vsock", self.log("a"))
        self.assertIn("hypervisor", self.kata_ok("exec", "a", "cat", "/proc/cpuinfo"))

    def test_verdict_is_remembered(self):
        self.detached("a")
        self.detached("b")
        self.assertIn("found before", self.log("b"))

    def test_each_guest_has_its_own_number(self):
        self.detached("a")
        first = self.monitor()
        self.detached("b")
        second = self.monitor([first])
        self.assertNotEqual(cid_of(first), cid_of(second))
        for name in ("a", "b"):
            self.assertEqual(self.kata_ok("exec", name, "echo", name), name + "\n")

    def test_many_calls_over_vsock(self):
        self.detached("a")
        for i in range(20):
            self.assertEqual(self.kata_ok("exec", "a", "echo", str(i)), f"{i}\n")

    def test_serial_ports_on_demand(self):
        self.detached("a", self.config({"transport": "virtio-serial"}))
        files = opened(self.monitor())
        self.assertIn("anon_inode:kvm-vcpu:0", files)
        self.assertNotIn("/dev/vhost-vsock", files)
        self.assertEqual(self.kata_ok("exec", "a", "echo", "well"), "well\n")

    def test_the_agents_log_arrives(self):
        """By a serial port, whatever carries the calls."""
        self.detached("a", self.config(text="[runtime]\nenable_debug = true\n"))
        self.assertTrue(wait_until(lambda: "serves vsock://" in self.log("a")), self.log("a"))

    def test_both_demanded(self):
        self.works(self.config({"accel": "kvm", "transport": "vsock"}))

    def test_a_container_cannot_reach_its_agent(self):
        """It can make vsock connections within its guest, and the agent is root there."""
        for cid in ("1", "0"):
            out = self.run_ok("--network", "none", "-v", f"{PROGRAMS}:/programs:ro", "busybox",
                              "/programs/vsock_dial", cid, "1024")
            self.assertRegex(out, r"^(closed|refused: .*)\n$")

    def test_9p(self):
        self.works(self.config({"shared_fs": "virtio-9p"}))


if __name__ == "__main__":
    unittest.main()
