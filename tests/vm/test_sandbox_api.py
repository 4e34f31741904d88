# SPDX-License-Identifier: Apache-2.0
"""The Sandbox API at the engine's own socket, in every state, without any containerd."""
import os
import platform
import signal
import subprocess
import threading
import time
import unittest

import grpc_client as rpc
import ttrpc_client
from engine_case import EXISTS, INVALID, NOT_FOUND, STATE, STOPPED, UNSUPPORTED, EngineCase
from kata_case import SLOWNESS, processes

KERNEL = ("SandboxApi.test_bad_kernel_parameters SandboxApi.test_kernel_parameters "
          "SandboxApi.test_life SandboxApi.test_shared_memory_and_network")
LAB = "full"
TIMEOUT_S = 600
SANDBOX = "containerd.runtime.sandbox.v1.Sandbox"


class SandboxApi(EngineCase):
    ident = "pod"

    def setUp(self):
        super().setUp()
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 600"],
                                  stdout=subprocess.PIPE)
        self.addCleanup(lambda: (holder.kill(), holder.communicate()))
        holder.stdout.readline()
        self.netns = f"/proc/{holder.pid}/ns/net"
        self.start_engine()

    def api(self, method, request=None, **kw):
        return ttrpc_client.call(self.socket, SANDBOX, method, {1: "pod", **(request or {})}, **kw)

    def fails(self, code, method, request=None, words=""):
        with self.assertRaises(rpc.RpcError) as caught:
            self.api(method, request)
        self.assertEqual(caught.exception.code, code, caught.exception)
        self.assertIn(words, str(caught.exception))

    def request(self, config):
        return {2: self.bundle, 4: {1: "runtime.v1.PodSandboxConfig", 2: rpc.encode(config)},
                5: self.netns}

    def create(self, more=None):
        self.api("CreateSandbox", self.request({
            2: "the-host", 8: {5: {1: 100000, 2: 200000, 4: 256 << 20}}, **(more or {})}))

    def container(self, name, *command, **more):
        """Creates and starts a container of the pod; returns the path of its output."""
        path = self.make_bundle(name)
        spec = self.spec(*command, annotations={
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-id": "pod"})
        spec["mounts"] += more.get("mounts", [])
        spec["root"].update(more.get("root", {}))
        self.write_spec(path, spec)
        out = os.path.join(path, "out")
        self.task("Create", {1: name, 2: path, 6: f"file://{out}"})
        self.task("Start", {1: name})
        return out

    def status(self):
        return self.api("SandboxStatus", {2: True})

    def output(self, name, *command, **more):
        out = self.container(name, *command, **more)
        self.task("Wait", {1: name})
        self.task("Delete", {1: name})
        with open(out, encoding="utf-8") as f:
            return f.read()

    def test_life(self):
        self.fails(NOT_FOUND, "SandboxStatus")
        self.fails(NOT_FOUND, "StartSandbox")
        self.create()
        self.fails(EXISTS, "CreateSandbox", {2: self.bundle, 5: self.netns})
        self.assertEqual(rpc.text(self.status(), 3), "SANDBOX_NOTREADY")
        self.fails(STATE, "PingSandbox")
        with self.assertRaises(rpc.RpcError) as caught:
            self.container("early", "true")
        self.assertEqual(caught.exception.code, STATE)
        started = self.api("StartSandbox")
        pid = rpc.number(started, 1)
        self.assertEqual(processes()[pid], "kata-stand-in")
        self.assertEqual(os.readlink(f"/proc/{pid}/ns/net"), os.readlink(self.netns))
        self.assertEqual(os.listdir(f"/proc/{pid}/root"), [])
        self.fails(STATE, "StartSandbox")
        self.api("PingSandbox")
        status = self.status()
        self.assertEqual((rpc.text(status, 1), rpc.number(status, 2), rpc.text(status, 3)),
                         ("pod", pid, "SANDBOX_READY"))
        self.assertIn("guest kernel", rpc.text(rpc.inner(status, 4), 2))
        self.assertEqual(self.output("size", "nproc"), "2\n")
        self.assertEqual(self.output("host", "hostname"), "the-host\n")
        kernel = self.output("kernel", "uname", "-r")  # the machine outlives its containers
        self.assertNotEqual(kernel.strip(), platform.release())
        self.api("StopSandbox", {2: 5})
        self.assertEqual(rpc.text(self.status(), 3), "SANDBOX_NOTREADY")
        self.fails(STATE, "PingSandbox")
        self.assertEqual(rpc.number(self.api("WaitSandbox"), 1), 0)
        self.api("StopSandbox")
        self.api("ShutdownSandbox")

    def test_shared_memory_and_network(self):
        self.create()
        self.api("StartSandbox")
        self.container("writer", "sh", "-c", "echo shared >/dev/shm/x; ifconfig lo up; "
                       "echo well | nc -l -p 4000; sleep 1000")
        self.assertEqual(self.output("reader", "sh", "-c", "until [ -e /dev/shm/x ]; do sleep 0.1; "
                                     "done; cat /dev/shm/x; until nc 127.0.0.1 4000 </dev/null; "
                                     "do sleep 0.1; done"), "shared\nwell\n")
        self.api("StopSandbox")
        state = self.task("State", {1: "writer"})
        self.assertEqual((rpc.number(state, 4), rpc.number(state, 9)), (STOPPED, 137))
        self.api("ShutdownSandbox")

    def test_stop_with_time_to_end(self):
        """Whoever ends in it has his own status, whoever does not is killed when it is over."""
        self.create()
        self.api("StartSandbox")
        self.container("ends", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
        self.container("stays", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
        time.sleep(SLOWNESS)  # for the traps
        began = time.monotonic()
        self.api("StopSandbox", {2: 3})
        self.assertGreater(time.monotonic() - began, 3)
        for name, status in (("ends", 7), ("stays", 137)):
            state = self.task("State", {1: name})
            self.assertEqual((rpc.number(state, 4), rpc.number(state, 9)), (STOPPED, status), name)
        self.api("ShutdownSandbox")

    def test_stop_of_a_machine_that_does_not_answer(self):
        """The time is for all of it, however many containers there are to be asked."""
        self.create()
        self.api("StartSandbox")
        for name in ("one", "two", "three"):
            self.container(name, "sleep", "1000")
        (machine,) = [pid for pid, name in processes().items() if name.startswith("qemu")]
        os.kill(machine, signal.SIGSTOP)
        began = time.monotonic()
        self.api("StopSandbox", {2: 2})
        self.assertLess(time.monotonic() - began, 25 * SLOWNESS)
        for name in ("one", "two", "three"):
            state = self.task("State", {1: name})
            self.assertEqual(rpc.number(state, 4), STOPPED, name)
            self.assertIn(rpc.number(state, 9), (137, 255), name)  # killed, or nobody can say
        self.api("ShutdownSandbox")

    def test_names_of_the_pod(self):
        """containerd makes no files for such a pod, and mounts none into its containers."""
        self.create({4: {1: ["10.96.0.10", "fd00::a"], 2: ["ns.svc.example", "svc.example"],
                         3: ["ndots:5"]}})
        self.api("StartSandbox")
        with open("/etc/hosts", encoding="utf-8") as f:
            hosts = f.read()
        names = ("cat", "/etc/hostname", "/etc/resolv.conf", "/etc/hosts")
        expected = ("the-host\nsearch ns.svc.example svc.example\nnameserver 10.96.0.10\n"
                    "nameserver fd00::a\noptions ndots:5\n")
        self.assertEqual(self.output("a", *names), expected + hosts)
        write = ("sh", "-c", "echo mine >>/etc/hosts && tail -n 1 /etc/hosts || echo refused")
        self.assertEqual(self.output("b", *write), "mine\n")
        self.assertEqual(self.output("c", *names), expected + hosts + "mine\n")  # one for all
        self.assertEqual(self.output("d", *write, root={"readonly": True}), "refused\n")
        own = os.path.join(self.root, "own")
        with open(own, "w", encoding="ascii") as f:
            f.write("from kubelet\n")
        self.assertEqual(self.output("e", *names, mounts=[
            {"destination": "/etc//hosts", "type": "bind", "source": own, "options": ["rbind"]}]),
            expected + "from kubelet\n")
        self.api("ShutdownSandbox")

    def test_name_servers_of_the_host(self):
        """Those of a pod that does not say its own."""
        self.create()
        self.api("StartSandbox")
        with open("/etc/resolv.conf", encoding="utf-8") as f:
            self.assertEqual(self.output("a", "cat", "/etc/resolv.conf"), f.read())
        self.api("ShutdownSandbox")

    def test_kernel_parameters(self):
        """With a pause container they are in its specification, and set after the network is."""
        subprocess.run(["nsenter", f"--net={self.netns}", "sh", "-ec", "ip link add out0 type veth peer "
                        "name pod7; ip addr add 198.51.100.2/24 dev pod7; ip link set out0 up; "
                        "ip link set pod7 up"], check=True, timeout=30)
        self.create({8: {3: rpc.pairs({"net.ipv4.ip_unprivileged_port_start": "77",
                                       "net/ipv4/conf/pod7/arp_ignore": "2",
                                       "kernel.shm_rmid_forced": "1"})}})
        self.api("StartSandbox")
        self.assertEqual(self.output("a", "sh", "-c", "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start "
                                     "net/ipv4/conf/pod7/arp_ignore kernel/shm_rmid_forced"), "77\n2\n1\n")
        self.api("ShutdownSandbox")

    def test_bad_kernel_parameters(self):
        for key, value, words in (("net.ipv4.no_such", "1", "sysctls 'net.ipv4.no_such'"),
                                  ("net.ipv4.ip_forward", "two", "sysctls 'net.ipv4.ip_forward'"),
                                  ("../1/oom_adj", "1", "sysctls '../1/oom_adj': no such name")):
            with self.subTest(key=key):
                self.create({8: {3: rpc.pairs({"kernel.shm_rmid_forced": "1", key: value})}})
                with self.assertRaises(rpc.RpcError) as caught:
                    self.api("StartSandbox")
                self.assertIn(words, str(caught.exception))
                self.api("ShutdownSandbox")
                self.shim("delete", "-bundle", self.bundle)
                self.check_nothing_left()
                self.start_engine()
        many = rpc.pairs({f"net.core.x{i}": "1" for i in range(1025)})
        self.fails(INVALID, "CreateSandbox", self.request({8: {3: many}}), "linux.sysctls: 1025")
        self.api("ShutdownSandbox")

    def test_metrics_are_the_sum(self):
        self.create()
        self.api("StartSandbox")
        for name in ("a", "b"):
            self.container(name, "sh", "-c", f"head -c 8m /dev/zero >/dev/shm/{name}; sleep 1000")
        self.container("ended", "true")  # which nobody has deleted, and nobody minds
        self.task("Wait", {1: "ended"})
        end = time.monotonic() + 20
        while True:
            metric = rpc.inner(self.api("SandboxMetrics"), 1)
            data = rpc.inner(metric, 3)
            self.assertEqual(rpc.text(metric, 2), "pod")
            url = rpc.text(data, 1)
            figures = rpc.inner(data, 2)
            v1 = url == "io.containerd.cgroups.v1.Metrics"
            memory = rpc.inner(figures, 4, 33) if v1 else rpc.inner(figures, 4)
            used = rpc.number(memory, 2 if v1 else 32)
            tasks = rpc.number(rpc.inner(figures, 2 if v1 else 1), 1)
            if used > 16 << 20 and tasks == 2:
                break
            self.assertLess(time.monotonic(), end, (url, used, tasks))
            time.sleep(0.1)
        self.api("ShutdownSandbox")

    def test_lost_machine(self):
        self.create()
        self.api("StartSandbox")
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(self.api("WaitSandbox")))
        waiting.start()
        for pid, name in processes().items():
            if name.startswith("qemu") and pid not in self.before["processes"]:
                os.kill(pid, signal.SIGKILL)
        waiting.join(30)
        self.assertEqual(rpc.number(answers[0], 1), 255)
        self.assertEqual(rpc.text(self.status(), 3), "SANDBOX_NOTREADY")
        self.api("ShutdownSandbox")

    def test_stop_while_a_container_is_made(self):
        """Neither waits for the other; what half is made goes, and its disk is whole."""
        disk = os.path.join(self.root, "making.ext4")
        subprocess.run(["mkfs.ext4", "-q", "-d", self.rootfs, disk, "16M"], check=True, timeout=60)
        path = self.make_bundle("making")
        self.write_spec(path, self.spec("sleep", "1000", root={"path": "rootfs"}, annotations={
            "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "pod"}))
        request = {1: "making", 2: path, 3: [{1: "ext4", 2: disk, 4: ["rw", "loop"]}]}
        for after_ms in (0, 5, 20, 60, 150, 400, 4000 * SLOWNESS):
            with self.subTest(after_ms=after_ms):
                self.create()
                self.api("StartSandbox")
                answers = []
                making = threading.Thread(target=lambda: answers.append(self.attempt(request)))
                making.start()
                time.sleep(after_ms / 1000)
                began = time.monotonic()
                self.api("StopSandbox", {2: 5})
                making.join(30 * SLOWNESS)
                self.assertLess(time.monotonic() - began, 20 * SLOWNESS)
                self.assertFalse(making.is_alive())
                self.assertEqual(rpc.text(self.status(), 3), "SANDBOX_NOTREADY")
                self.api("ShutdownSandbox")
                self.shim("delete", "-bundle", self.bundle)
                self.check_nothing_left()
                subprocess.run(["e2fsck", "-fn", disk], check=True, timeout=60, capture_output=True)
                self.start_engine()
        self.assertNotIsInstance(answers[0], Exception)  # the last one was made
        self.api("ShutdownSandbox")

    SLOW_BUSCTL = """#!/bin/sh
touch {root}/asked
until [ -e {root}/answer ]; do sleep 0.05; done
echo nothing of the kind >&2
exit 1
"""

    def fake_systemd(self):
        """One that takes its time, and then refuses; in this mount namespace alone."""
        if not (os.path.exists("/usr/bin/busctl") and os.path.isdir("/run/systemd")):
            self.skipTest("no systemd is installed")
        path = os.path.join(self.root, "busctl")
        with open(path, "w", encoding="ascii") as f:
            f.write(self.SLOW_BUSCTL.format(root=self.root))
        os.chmod(path, 0o755)
        for place, args in (("/usr/bin/busctl", ("--bind", path)),
                            ("/run/systemd", ("-t", "tmpfs", "kata-test"))):
            subprocess.run(["mount", *args, place], check=True)
            self.addCleanup(subprocess.run, ["umount", "-l", place], check=True)
        os.mkdir("/run/systemd/system")
        self.api("ShutdownSandbox")
        self.shim("delete", "-bundle", self.bundle)
        self.start_engine()  # whose mounts are those of its start

    def test_one_request_at_a_time(self):
        """While the making of the pod waits for systemd, nobody else makes one."""
        self.fake_systemd()
        answers = {}

        def ask(name, what):
            def run():
                try:
                    answers[name] = what()
                except (rpc.RpcError, OSError) as e:
                    answers[name] = e
            thread = threading.Thread(target=run)
            thread.start()
            return thread

        slow = self.request({8: {1: "/kata.slice"}})
        first = ask("first", lambda: self.api("CreateSandbox", slow))
        end = time.monotonic() + 20 * SLOWNESS
        while not os.path.exists(os.path.join(self.root, "asked")):
            self.assertLess(time.monotonic(), end, "systemd is not asked")
            time.sleep(0.05)
        self.fails(EXISTS, "CreateSandbox", slow)
        container = ask("container", lambda: self.container("c", "true"))
        time.sleep(0.5)
        self.assertEqual(answers, {})
        with open(os.path.join(self.root, "answer"), "w", encoding="ascii"):
            pass
        for thread in (first, container):
            thread.join(30 * SLOWNESS)
        self.assertIn("nothing of the kind", str(answers["first"]))
        self.assertEqual(answers["container"].code, STATE, answers["container"])
        self.create()  # what could not be made may be made again
        self.api("StartSandbox")
        self.assertEqual(self.output("d", "echo", "well"), "well\n")
        self.api("ShutdownSandbox")

    def attempt(self, request):
        try:
            return self.task("Create", request, timeout=60 * SLOWNESS)
        except (rpc.RpcError, OSError) as e:
            return e

    def test_bad_requests(self):
        self.fails(UNSUPPORTED, "CreateSandbox", {2: self.bundle}, "network")
        self.fails(UNSUPPORTED, "CreateSandbox", {5: self.netns, 3: {1: "bind"}}, "root file system")
        self.fails(UNSUPPORTED, "CreateSandbox", {5: self.netns, 4: {1: "a.B"}}, "a.B")
        self.fails(INVALID, "CreateSandbox", {1: "another", 5: self.netns}, "another")
        self.fails(INVALID, "CreateSandbox", self.request({4: {1: ["a\nb"]}}),
                   "dns_config.servers[0] 'a\\x0ab'")
        self.fails(UNSUPPORTED, "UpdateSandbox")
        platform_answer = rpc.inner(self.api("Platform"), 1)
        self.assertEqual(rpc.text(platform_answer, 1), "linux")
        self.assertIn(rpc.text(platform_answer, 2), ("amd64", "arm64"))
        self.api("CreateSandbox", {2: self.bundle, 5: "/nowhere/netns"})
        with self.assertRaises(rpc.RpcError) as caught:
            self.api("StartSandbox")
        self.assertIn("/nowhere/netns", str(caught.exception))
        self.api("ShutdownSandbox")


if __name__ == "__main__":
    unittest.main(verbosity=2)
