# SPDX-License-Identifier: Apache-2.0
"""The agent, as it goes into the guest."""
import os
import struct
import tempfile

from guestlib import common
from guestlib.common import Problem

MAX_AGENT = 64 << 20


def read_agent(path):
    """The agent's bytes without symbols; it must be a static 64-bit x86 program."""
    try:
        with open(path, "rb") as source:
            data = source.read(MAX_AGENT + 1)
    except OSError as error:
        raise Problem(f"cannot read the agent {path}: {error.strerror}",
                      "build it first: make") from error
    if len(data) > MAX_AGENT or len(data) < 64 or data[:6] != b"\x7fELF\x02\x01" or \
            struct.unpack_from("<H", data, 18)[0] != 62:
        raise Problem(f"the agent {path} is not a program for x86-64")
    table, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for index in range(count):
        at = table + size * index
        if at + 4 > len(data):
            raise Problem(f"the agent {path} is truncated")
        if struct.unpack_from("<I", data, at)[0] == 3:
            raise Problem(f"the agent {path} is not static: the guest has no loader for it",
                          "link it with -static or -static-pie")
    with tempfile.TemporaryDirectory() as temporary:
        out = os.path.join(temporary, "agent")
        common.run(["strip", "-s", "-o", out, path], 60, f"stripping the agent {path}")
        with open(out, "rb") as source:
            return source.read()
