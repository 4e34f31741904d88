# SPDX-License-Identifier: Apache-2.0
"""The real agent in namespaces of this host, without a virtual machine, driven by agent_life:
lives of containers, streams, terminals, refusals, hostile frames.

    test_agent.py KATA_AGENT AGENT_LIFE [--keep] [unittest arguments]

Needs root and mount, pid and network namespaces; skips by name otherwise.
"""

import os
import re
import socket
import struct
import subprocess
import sys
import unittest

from agent_case import AgentCase

# A virtual machine says itself whether a test needs more time.
LIMIT = int(os.environ.get("AGENT_LIFE_SECONDS", "240"))
LIFE = sys.argv[2] if len(sys.argv) > 2 else ""


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
