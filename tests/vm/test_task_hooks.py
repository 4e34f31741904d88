# SPDX-License-Identifier: Apache-2.0
"""Hooks of the specification on the host: order, state, time limits, and what undoes them."""
import contextlib
import os
import subprocess
import threading
import time
import unittest

import grpc_client as rpc
from engine_case import TaskCase
from kata_case import processes

KERNEL = "any"
LAB = "full"
TIMEOUT_S = 600


class Hooks(TaskCase):
    HOOKS = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    RECORD = ("state=$(cat); pid=$(echo \"$state\" | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); "
              "echo \"$0 $(readlink /proc/$pid/ns/net) $(echo \"$state\" | "
              "sed 's/.*\"status\":\"\\([a-z]*\\).*/\\1/')\" >>$LOG")

    def hook(self, name, command):
        return {"path": "/bin/sh", "args": ["sh", "-c", command, name],
                "env": ["PATH=/usr/bin:/bin", f"LOG={self.bundle}/hooks"], "timeout": 20}

    def hooks_log(self):
        with open(os.path.join(self.bundle, "hooks"), encoding="ascii") as f:
            return [line.split() for line in f]

    def test_hooks(self):
        """In order, with the state on standard input, whose process has the network."""
        self.write_spec(self.bundle, self.spec("sleep", "1000", hooks={
            name: [self.hook(name, self.RECORD)] for name in self.HOOKS}))
        self.start_engine()
        self.create()
        self.assertEqual([row[0] for row in self.hooks_log()], list(self.HOOKS[:3]))
        pid = rpc.number(self.task("State", {1: "x"}), 3)
        network = os.readlink(f"/proc/{pid}/ns/net")
        for row in self.hooks_log():
            self.assertEqual(row[1:], [network, "creating"])
        self.task("Start", {1: "x"})
        self.assertEqual(self.hooks_log()[3], ["poststart", network, "running"])
        self.end()
        self.assertEqual(self.hooks_log()[4][0::len(self.hooks_log()[4]) - 1],
                         ["poststop", "stopped"])

    def test_end_during_a_hook(self):
        """A process that is over before its poststart hook: told after its start, with its number."""
        self.write_spec(self.bundle, self.spec("true", hooks={
            "poststart": [self.hook("poststart", "sleep 2")]}))
        self.start_engine()
        pid = rpc.number(self.task("Create", {1: "x", 2: self.bundle}), 1)
        ends = []
        waiting = threading.Thread(target=lambda: (self.task("Wait", {1: "x"}), ends.append(time.monotonic())))
        waiting.start()
        self.assertEqual(rpc.number(self.task("Start", {1: "x"}), 1), pid)
        started = time.monotonic()
        waiting.join(30)
        self.assertGreater(ends[0], started - 0.5)
        self.assertEqual(rpc.number(self.task("Delete", {1: "x"}), 1), pid)
        self.task("Shutdown", {1: "x"})

    def test_poststop_after_a_killed_engine(self):
        """`delete` undoes what the hooks did, once; as nerdctl's networks need it."""
        self.write_spec(self.bundle, self.spec("sleep", "1000", hooks={
            "createRuntime": [self.hook("createRuntime", self.RECORD)],
            "poststop": [self.hook("poststop", self.RECORD)]}))
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        for pid, name in processes().items():
            if name == "containerd-shim-kata-v2" and pid not in self.before["processes"]:
                os.kill(pid, 9)
        for _ in range(2):
            done = self.shim("delete", "-bundle", self.bundle)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([(row[0], row[-1]) for row in self.hooks_log()],
                         [("createRuntime", "creating"), ("poststop", "stopped")])

    def test_poststop_of_a_caller_that_goes(self):
        """Its hooks run to their end, though nobody waits for Delete any more."""
        self.write_spec(self.bundle, self.spec("sleep", "1000", hooks={
            "poststop": [self.hook("poststop", "sleep 2; echo undone >>$LOG")]}))
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        self.task("Kill", {1: "x", 3: 9, 4: True})
        self.task("Wait", {1: "x"})
        with self.assertRaises(OSError):
            self.task("Delete", {1: "x"}, timeout=1)
        end = time.monotonic() + 20
        while "kata-poststop" in os.listdir(self.bundle):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        self.assertEqual(self.hooks_log(), [["undone"]])
        while True:
            with contextlib.suppress(OSError, rpc.RpcError):  # it may be on its way already
                self.task("Shutdown", {1: "x"})
            time.sleep(0.1)
            if not os.path.exists("/run/kata/x"):
                break
            self.assertLess(time.monotonic(), end)

    def test_hooks_without_room_for_their_mark(self):
        """What could not be undone after a kill is not begun: refused before the first hook."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=32", "bundle", self.bundle], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.bundle], check=True)
        self.write_spec(self.bundle, self.spec("true", hooks={
            "createRuntime": [self.hook("createRuntime", "echo done >>$LOG")],
            "poststop": [self.hook("poststop", "echo undone >>$LOG")]}))
        with open(os.path.join(self.bundle, "hooks"), "w", encoding="ascii"):
            pass
        self.start_engine()
        with contextlib.suppress(OSError):
            for i in range(40):
                os.mkdir(os.path.join(self.bundle, f"full{i}"))
        self.refused(13, "Create", {1: "x", 2: self.bundle}, "poststop", self.bundle, "No space")
        self.assertEqual(self.hooks_log(), [])
        self.task("Shutdown", {1: "x"})

    def test_hook_that_fails(self):
        """Its words are the reason; poststop undoes what the others did."""
        for name in self.HOOKS[:3]:
            with self.subTest(hook=name):
                self.write_spec(self.bundle, self.spec("true", hooks={
                    name: [self.hook(name, "echo because >&2; exit 3")],
                    "poststop": [self.hook("poststop", "echo undone >>$LOG")]}))
                self.start_engine()
                with self.assertRaises(rpc.RpcError) as caught:
                    self.create()
                self.assertIn(name, str(caught.exception))
                self.assertIn("because", str(caught.exception))
                self.assertEqual(self.hooks_log().pop(), ["undone"])
                self.task("Shutdown", {1: "x"})
                self.wait_gone()

    def test_hook_over_its_time(self):
        """It is killed with what it has started, and named; what is to be undone is."""
        slow = "cat >/dev/null; {} echo waiting >&2; {}"
        for name, command in (("createRuntime", slow.format("sleep 7531 &", "sleep 7532")),
                              ("prestart", slow.format("sleep 7531 &", "exit 0")),
                              ("createContainer", slow.format("", "trap '' TERM; sleep 7533 | cat"))):
            with self.subTest(hook=name):
                self.write_spec(self.bundle, self.spec("true", hooks={
                    name: [{**self.hook(name, command), "timeout": 1}],
                    "poststop": [{**self.hook("poststop", "sleep 7534"), "timeout": 1},
                                 self.hook("poststop", "echo undone >>$LOG")]}))
                self.start_engine()
                with self.assertRaises(rpc.RpcError) as caught:
                    self.create()
                for words in (f"{name} hook '/bin/sh': ", " in 1 s (its timeout)", ": waiting"):
                    self.assertIn(words, str(caught.exception))
                self.assertEqual(self.hooks_log(), [["undone"]])
                os.unlink(os.path.join(self.bundle, "hooks"))
                self.assertEqual(self.sleepers(), [])
                self.task("Shutdown", {1: "x"})
                self.wait_gone()

    def test_hook_longer_than_a_launch(self):
        """startContainer's, in the guest: what it may take is not the program's time."""
        self.write_spec(self.bundle, self.spec(
            "true", hooks={"startContainer": [{"path": "/bin/sleep", "args": ["sleep", "8"], "timeout": 60}]},
            annotations={"io.katacontainers.config.hypervisor.kernel_params": "agent.launch_process_timeout=5"}))
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        self.assertEqual(rpc.number(self.task("Wait", {1: "x"}), 1), 0)
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})

    @staticmethod
    def sleepers():
        """What is left of the hooks above."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as line:
                    words = line.read().split(b"\0")
            except OSError:
                continue
            if words[0] == b"sleep" and words[1].startswith(b"753"):
                found.append(words[1])
        return found


if __name__ == "__main__":
    unittest.main(verbosity=2)
