# SPDX-License-Identifier: Apache-2.0
"""The guest's initrd with hostile_agent.c for its agent: a guest that is the host's enemy."""
import os
import stat
import sys

from kata_case import TREE

sys.path.insert(0, os.path.join(TREE, "guest"))
from guestlib import cpio  # noqa: E402

AGENT = os.path.join(TREE, "build", "host", "tests", "vm", "hostile_agent")
INITRD = os.path.join(TREE, "build", "guest", "initrd")


def write_to(directory):
    """Returns the path of the file."""
    archive = cpio.Archive()
    with open(AGENT, "rb") as agent, open(INITRD, "rb") as initrd:
        archive.add("init", cpio.Entry(stat.S_IFREG | 0o755, agent.read()))
        data = initrd.read()
    path = os.path.join(directory, "hostile.initrd")
    with open(path, "wb") as f:  # the later /init replaces the agent
        f.write(data + bytes(-len(data) % 512) + archive.pack())
    return path
