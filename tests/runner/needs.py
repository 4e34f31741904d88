# SPDX-License-Identifier: Apache-2.0
"""What a test file may ask of the machine by a line NEEDS = "WORD WORD…"."""

import os
import subprocess

from . import process
from .results import FAIL, SKIP

ACCEL_TOOL = os.path.join(process.ROOT, "build/host/tests/vm/accel_tool")
WHERE = "tests/run --suite lab has it"


def kvm():
    """Not whether the device is there: whether it runs a guest's code."""
    try:
        done = subprocess.run([ACCEL_TOOL], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=30, check=False)
    except FileNotFoundError:
        return f"needs KVM, and {ACCEL_TOOL} is not built: make"
    except subprocess.TimeoutExpired:
        return f"needs KVM, which hangs here; {WHERE}"
    return None if done.returncode == 0 else f"needs KVM ({done.stdout.strip()}); {WHERE}"


def device(path):
    return lambda: None if os.path.exists(path) else f"needs {path}; {WHERE}"


def laboratory():
    """For tests that break the machine they run on."""
    return None if os.environ.get("KATA_LAB") == "1" else f"needs a machine to spoil; {WHERE}"


CHECKS = {
    "kvm": kvm,
    "vhost-vsock": device("/dev/vhost-vsock"),
    "vhost-net": device("/dev/vhost-net"),
    "laboratory": laboratory,
}


def unmet(words):
    """(SKIP or FAIL, the first reason why this machine will not do), or None. The laboratory has all of it."""
    for word in words.split():
        if word not in CHECKS:
            return FAIL, f"NEEDS names {word}, which runner/needs.py does not know"
        reason = CHECKS[word]()
        if reason:
            return (FAIL if os.environ.get("KATA_LAB") == "1" else SKIP), reason
    return None
