#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""A monitor that misbehaves, for tests of the engine: what it does is the end of its own name.

    .../bin/qemu-MODE, copies of this file

It finds its QMP socket as QEMU does, by the "-chardev socket,id=qmp,fd=N" of its arguments.
"""
import json
import os
import socket
import sys
import time

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""},
                    "capabilities": []}}


def chardevs(argv):
    """{id: descriptor} of the sockets that were handed over."""
    found = {}
    for option, value in zip(argv, argv[1:]):
        if option == "-chardev":
            fields = dict(part.split("=", 1) for part in value.split(",") if "=" in part)
            found[fields["id"]] = int(fields["fd"])
    return found


class Monitor:
    def __init__(self):
        self.sock = socket.socket(fileno=chardevs(sys.argv)["qmp"])
        self.sock.setblocking(True)

    def say(self, message):
        self.sock.sendall(json.dumps(message).encode() + b"\n")

    def next_command(self):
        return json.loads(self.sock.makefile("r").readline())


def silent(_):
    pass


def rubbish(m):
    m.sock.sendall(b"\x00\xff{]\n" * 100)


def longline(m):
    m.say(GREETING)
    block = b"x" * 65536
    while True:
        m.sock.sendall(block)


def wrongid(m):
    m.say(GREETING)
    m.next_command()
    m.say({"return": {}, "id": 99999})


def refuses(m):
    m.say(GREETING)
    command = m.next_command()
    m.say({"error": {"class": "GenericError", "desc": "no\x1b[2J today"}, "id": command["id"]})


def dies(m):
    m.say(GREETING)
    sys.stderr.write("words of a dying monitor\n")
    sys.exit(3)


def events(m):
    """Never answers, and never stops talking."""
    m.say(GREETING)
    while True:
        m.say({"event": "RTC_CHANGE", "data": {"offset": 0},
               "timestamp": {"seconds": 0, "microseconds": 0}})


def deaf(m):
    """Starts well; there is no guest, and it takes no further command."""
    m.say(GREETING)
    command = m.next_command()
    m.say({"return": {}, "id": command["id"]})


def stops(m):
    """Starts well, and then KVM meets an instruction it cannot run."""
    deaf(m)
    sys.stderr.write("KVM internal error. Suberror: 1\nemulation failure\nRAX=0000000000000000\n")
    sys.stderr.flush()
    m.say({"event": "STOP", "timestamp": {"seconds": 0, "microseconds": 0}})


def leaves(m):
    """Starts well; then it ends, for a reason of the host's."""
    deaf(m)
    time.sleep(0.5)
    sys.exit(3)


def spins(m):
    """Starts well, and is busy for good."""
    deaf(m)
    while True:
        pass


MODES = {f.__name__: f for f in (silent, rubbish, longline, wrongid, refuses, dies, events, deaf, stops,
                                 leaves, spins)}


if __name__ == "__main__":
    monitor = Monitor()
    MODES[os.path.basename(sys.argv[0]).rpartition("-")[2]](monitor)
    time.sleep(600)
