#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests that boot guests: run.py BUILD_DIR vmm|vhost|nested|share|killed [FILTER]

Packs a small initrd (guest_init and busybox) for the guest kernel of the cache and runs the
test program with it. "killed" kills a program that has a machine and a virtiofsd with SIGKILL
and looks whether anything of it is left; "vhost" and "nested" are those of the VMM's
tests that need the host's vhost-net, and its KVM. Environment: KATA_TEST_ACCEL, KATA_TEST_MACHINE.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from runner import needs, results  # noqa: E402

GUEST = os.path.join(HERE, "..", "..", "guest")
SKIP = 77
# Tests of the VMM that not every host can run: what they need, and which they are.
SPECIAL = {"vhost": ("vhost-net", "test_host_vhost_net"), "nested": ("kvm", "test_host_nested")}
LIMIT = 400


def kernel_dir():
    """The newest kernel there is, unpacked; nothing is downloaded if one is there."""
    wanted = os.environ.get("KATA_GUEST_KERNEL", "")
    if wanted != "distro":
        tuned = subprocess.run([os.path.join(GUEST, "build-kernel"), "--print-path"],
                               capture_output=True, text=True, timeout=60, check=False)
        if tuned.returncode == 0 and tuned.stdout.strip():
            return tuned.stdout.strip()
        if wanted == "tuned":
            sys.exit("the tuned kernel is not built")
    return subprocess.run([os.path.join(GUEST, "fetch-kernel")], stdout=subprocess.PIPE,
                          text=True, timeout=300, check=True).stdout.strip()


def pack(build, kernel, out):
    subprocess.run([os.path.join(GUEST, "mkinitrd"), "--kernel-dir", kernel, "--agent",
                    os.path.join(build, "tests/vm/guest_init"), "--extra-file",
                    "/bin/busybox:bin/busybox:755", "--extra-file",
                    os.path.join(build, "tests/vm/accel_tool") + ":bin/accel_tool:755",
                    "--out", out], timeout=120, check=True)


def children(pid):
    """Process ids of everything below `pid`."""
    found = []
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as source:
            direct = [int(word) for word in source.read().split()]
    except OSError:
        return found
    for child in direct:
        found += [child, *children(child)]
    return found


def identity(pid):
    """Start time, so that a number used again is not taken for the old process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as source:
            fields = source.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def killed(build, env):
    program = os.path.join(build, "tests/vm/vm_test_share")
    with subprocess.Popen([program, "hold"], env=env, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout:
            if line.startswith("PIDS "):
                break
        else:
            sys.exit("the program that is to be killed ended by itself")
        before = {pid: identity(pid) for pid in children(run.pid)}
        print(f"# {len(before)} processes below {run.pid}")
        if len(before) < 2:
            sys.exit("a machine and a virtiofsd should run")
        run.send_signal(signal.SIGKILL)
        run.wait(10)
    end = time.monotonic() + 10
    left = list(before)
    while left and time.monotonic() < end:
        time.sleep(0.05)
        left = [pid for pid in left if before[pid] and identity(pid) == before[pid]]
    if left:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        sys.exit(f"left after SIGKILL of their starter: {left}")
    print("ok: nothing is left")
    return 0


def main():
    build, what = os.path.abspath(sys.argv[1]), sys.argv[2]
    if os.geteuid() != 0:
        print("skipped: needs root")
        return SKIP
    if not os.path.exists("/bin/busybox"):
        print("skipped: needs busybox-static")
        return SKIP
    program, words = "vm_test_" + what, sys.argv[3:]
    if what in SPECIAL:
        need, test = SPECIAL[what]
        unmet = needs.unmet(need)
        if unmet:
            status, why = unmet
            print(f"{status}: {why}")
            return SKIP if status == results.SKIP else 1
        program, words = "vm_test_vmm", [test]
    kernel = kernel_dir()
    with tempfile.TemporaryDirectory() as temporary:
        os.chmod(temporary, 0o755)
        env = dict(os.environ, KATA_TEST_KERNEL=os.path.join(kernel, "vmlinux"),
                   KATA_TEST_TMP=temporary,
                   KATA_TEST_INITRD=os.path.join(temporary, "initrd"))
        pack(build, kernel, env["KATA_TEST_INITRD"])
        if what == "killed":
            return killed(build, env)
        return subprocess.run([os.path.join(build, "tests/vm", program), *words],
                              env=env, timeout=LIMIT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
