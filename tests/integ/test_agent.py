# SPDX-License-Identifier: Apache-2.0
"""The real agent in namespaces of this host, without a virtual machine, driven by agent_life:
lives of containers, streams, terminals, refusals, hostile frames.

    test_agent.py KATA_AGENT AGENT_LIFE [--keep] [unittest arguments]

Needs root and mount, pid and network namespaces; skips by name otherwise.
"""

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

AGENT, LIFE = sys.argv[1:3] if len(sys.argv) > 2 else ("", "")
BUSYBOX = "/bin/busybox"
# A virtual machine says itself whether a test needs more time.
LIMIT = int(os.environ.get("AGENT_LIFE_SECONDS", "240"))


def cgroup2_root():
    """The place where this host has cgroup v2 mounted, or None."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields, tail = line.split(" - ")
            if tail.startswith("cgroup2 "):
                return fields.split()[4]
    return None


def make_rootfs(path):
    """A busybox root file system with things that a hostile image might hold."""
    for name in ("bin", "etc/hidden", "etc/ro-dir", "etc/volume", "etc/inner", "root", "proc",
                 "sys", "dev", "tmp", "bound"):
        os.makedirs(os.path.join(path, name))
    shutil.copy(BUSYBOX, os.path.join(path, "bin/busybox"))
    applets = subprocess.run([BUSYBOX, "--list"], stdout=subprocess.PIPE, check=True, timeout=20)
    for applet in applets.stdout.decode().split():
        target = os.path.join(path, "bin", applet)
        if not os.path.lexists(target):
            os.symlink("/bin/busybox", target)
    files = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n",
        "etc/group": "root:x:0:\nuser:x:1001:\nextra:x:1002:user\n",
        "etc/secret": "secret\n",
        "etc/hidden/file": "hidden\n",
        "etc/volume/file": "in the volume\n",
        "etc/inner/mark": "mark\n",
    }
    for name, text in files.items():
        with open(os.path.join(path, name), "w", encoding="ascii") as out:
            out.write(text)
    with open(os.path.join(path, "etc/not-elf"), "wb") as out:
        out.write(b"\x7fELF\x02\x01nothing that runs")
    os.chmod(os.path.join(path, "etc/not-elf"), 0o755)
    os.symlink("../../../../../../etc/inner", os.path.join(path, "escape"))


class AgentCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        if not os.path.exists(BUSYBOX):
            raise unittest.SkipTest("needs busybox-static")
        cls.cgroups = cgroup2_root()
        if not cls.cgroups:
            raise unittest.SkipTest("needs cgroup v2 mounted somewhere")
        probe = subprocess.run(["unshare", "--fork", "--pid", "--mount", "--net", "true"],
                               stderr=subprocess.PIPE, check=False, timeout=20)
        if probe.returncode:
            raise unittest.SkipTest("cannot make namespaces: " + probe.stderr.decode().strip())

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kata-agent-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        os.chmod(self.dir, 0o711)  # root of a user namespace has to get through
        self.rootfs = os.path.join(self.dir, "rootfs")
        make_rootfs(self.rootfs)
        self.cgroup = os.path.join(self.cgroups, "kata-test-%d" % os.getpid())
        os.mkdir(self.cgroup)
        self.addCleanup(self.remove_cgroups)
        self.socket = os.path.join(self.dir, "agent.sock")
        self.log = open(os.path.join(self.dir, "log"), "w+", encoding="utf-8")
        self.addCleanup(self.log.close)
        self.agent = None

    def remove_cgroups(self):
        for path, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(path)

    def start_agent(self):
        """In namespaces of its own; /run is its own, too."""
        script = ("mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm; exec \"$0\" \"$@\"")
        self.agent = subprocess.Popen(
            ["unshare", "--fork", "--pid", "--mount", "--mount-proc", "--net", "--uts", "--ipc",
             "--kill-child", "sh", "-c", script, AGENT, "--no-boot", "--server-addr",
             "unix://" + self.socket, "--cgroup-root", self.cgroup, "--log-level", "debug"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.addCleanup(self.stop_agent)
        deadline = time.monotonic() + 20
        while not self.listens():
            if self.agent.poll() is not None or time.monotonic() > deadline:
                self.fail("the agent does not start: " + self.log_text())
            time.sleep(0.02)

    def listens(self):
        with socket.socket(socket.AF_UNIX) as peer:
            return peer.connect_ex(self.socket) == 0

    def stop_agent(self):
        if self.agent.poll() is None:
            self.agent.kill()
        self.agent.wait(20)

    def log_text(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as text:
            return text.read()[-4000:]

    def controllers(self):
        with open(os.path.join(self.cgroup, "cgroup.controllers"), encoding="ascii") as text:
            return text.read().split()


class Life(AgentCase):
    def test_life(self):
        self.start_agent()
        argv = [LIFE, "unix://" + self.socket, self.rootfs]
        if not {"memory", "pids", "cpu"} <= set(self.controllers()):
            argv.append("no-limits")
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT,
                              check=False)
        said = done.stdout.decode(errors="replace")
        print(said)
        if done.returncode:
            print(self.log_text())
        wrong = [line for line in said.splitlines() if not re.match(r"ok |# \d+ ms|1\.\.", line)]
        self.assertEqual(done.returncode, 0, "\n".join(wrong))
        ended = self.agent.wait(20)
        self.assertEqual(ended, 0, "after DestroySandbox the agent ends: " + self.log_text())
        self.assertEqual(os.listdir(os.path.join(self.cgroup, "kata"))
                         if os.path.isdir(os.path.join(self.cgroup, "kata")) else [],
                         [name for name in os.listdir(os.path.join(self.cgroup, "kata"))
                          if not os.path.isdir(os.path.join(self.cgroup, "kata", name))])


class Hostile(AgentCase):
    """What is no ttrpc fails its own connection and nothing else."""

    def connect(self):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(20)
        peer.connect(self.socket)
        self.addCleanup(peer.close)
        return peer

    def healthy(self):
        """Health.Check by hand: the frame and the protobuf envelope are a few bytes."""
        service, method = b"grpc.Health", b"Check"
        body = b"\x0a" + bytes([len(service)]) + service + b"\x12" + bytes([len(method)]) + method
        peer = self.connect()
        peer.sendall(struct.pack(">IIBB", len(body), 1, 1, 0) + body)
        header = peer.recv(10)
        peer.close()
        return len(header) == 10 and header[8] == 2

    def test_frames(self):
        self.start_agent()
        self.assertTrue(self.healthy())
        frames = {
            "over-long": struct.pack(">IIBB", 0xffffffff, 1, 1, 0),
            "even stream": struct.pack(">IIBB", 0, 2, 1, 0),
            "unknown type": struct.pack(">IIBB", 0, 1, 9, 0),
            "answer to nothing": struct.pack(">IIBB", 0, 1, 2, 0),
            "noise": os.urandom(4096),
        }
        for name, frame in frames.items():
            peer = self.connect()
            peer.sendall(frame)
            peer.shutdown(socket.SHUT_WR)
            rest = b"x"
            try:
                while rest:
                    rest = peer.recv(4096)
            except ConnectionResetError:
                pass
            except socket.timeout:
                self.fail(f"{name}: the connection stays open")
            self.assertTrue(self.healthy(), name)

    def test_bad_payload(self):
        """A frame that is right around a request that is none: an answer, not an end."""
        self.start_agent()
        service, method, payload = b"grpc.AgentService", b"CreateContainer", b"\xff" * 40
        body = (b"\x0a" + bytes([len(service)]) + service + b"\x12" + bytes([len(method)]) + method +
                b"\x1a" + bytes([len(payload)]) + payload)
        peer = self.connect()
        for stream in (1, 3):
            peer.sendall(struct.pack(">IIBB", len(body), stream, 1, 0) + body)
            header = peer.recv(10, socket.MSG_WAITALL)
            length, got, kind, _ = struct.unpack(">IIBB", header)
            answer = peer.recv(length, socket.MSG_WAITALL)
            self.assertEqual((got, kind), (stream, 2))
            self.assertIn(b"CreateContainerRequest", answer)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
