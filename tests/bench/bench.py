#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Measures `kata` beside its peers in the same run and prints figures and ratios.

It asserts nothing: a slow machine is no failure. Run as root from a built tree: make bench.
"""
import contextlib
import os
import re
import shutil
import stat
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(TREE, "build", "bin")
GUEST = os.path.join(TREE, "build", "guest")
sys.path.insert(0, os.path.join(TREE, "guest"))
from guestlib import cpio  # noqa: E402
IDLE_S = 10  # until a guest has settled; measured over twice as long
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
LIMIT_S = 120  # for anything a guest is to say
NO_BARE = "the bare QEMU needs the tuned kernel: make guest-kernel"  # Debian's has its drivers in modules


def kernel_info():
    with open(os.path.join(GUEST, "kernel.info")) as f:
        return dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)


def call(*args, **kw):
    return subprocess.run(args, check=True, capture_output=True, timeout=300, **kw)


def seconds(function, rounds=ROUNDS):
    """The median of several runs of function()."""
    took = []
    for _ in range(rounds):
        began = time.monotonic()
        function()
        took.append(time.monotonic() - began)
    return statistics.median(took)


def is_tuned():
    return kernel_info().get("flavour") == "tuned"


@contextlib.contextmanager
def limited(p):
    """Who waits for a process' output does not do so for ever."""
    timer = threading.Timer(LIMIT_S, p.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def first_output(command):
    """Seconds from the start of a process to its first byte of output."""
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as p, limited(p):
        if not p.stdout.read(1):
            sys.exit(f"bench: nothing came within {LIMIT_S} s from: {' '.join(command)}")
        took = time.monotonic() - began
        p.stdout.read()
    return took


def row(what, figure, note=""):
    print(f"{what:<44} {figure:>14}  {note}".rstrip(), flush=True)


def mib(path):
    return f"{os.path.getsize(path) / (1 << 20):.2f} MiB"


def pss_kib(pid, private=False):
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            if line.startswith("Private_" if private else "Pss:"):
                total += int(line.split()[1])
    return total


def children(pid):
    """The process and everything below it."""
    found = [pid]
    for parent in found:
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as f:
                found += [int(p) for p in f.read().split()]
        except OSError:
            continue
    return found


def name_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return os.path.basename(f.read().split(b"\0")[0].decode())


def cpu_seconds(pids):
    """What processes have used so far, of which some may be gone."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                total += sum(int(n) for n in f.read().rpartition(")")[2].split()[11:13])
        except OSError:
            continue
    return total / os.sysconf("SC_CLK_TCK")


def share_of(pids):
    """Of a processor that they use, once they have settled."""
    time.sleep(IDLE_S)
    before = cpu_seconds(pids)
    time.sleep(2 * IDLE_S)
    return (cpu_seconds(pids) - before) / (2 * IDLE_S)


def accel_of(pids):
    """What a machine among these processes runs on: its peers are to run on the same."""
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            found = re.search(rb"accel[= ](kvm|tcg)", f.read().replace(b"\0", b" "))
            if found:
                return found.group(1).decode()
    return "tcg"


def cpu_of(accel):
    """Of the bare machines, as kata has it (docs/decisions/0039)."""
    return "host" if accel == "kvm" else "max,erms=off,fsrm=off"


class Bare:
    """A QEMU that boots the same kernel to a shell script: what no runtime can beat by much."""

    def __init__(self, folder, accel):
        self.accel = accel
        self.ending = self.pack(folder, "ending", "/bin/busybox poweroff -f")
        self.idle = self.pack(folder, "idle", "exec /bin/busybox sleep 1000")

    @staticmethod
    def pack(folder, name, last):
        """An initrd whose script says "ready" and then does the last."""
        archive = cpio.Archive()
        with open("/bin/busybox", "rb") as f:
            archive.add("bin/busybox", cpio.Entry(stat.S_IFREG | 0o755, f.read()))
        archive.add("bin/sh", cpio.Entry(stat.S_IFLNK | 0o777, b"busybox"))
        archive.add("init", cpio.Entry(stat.S_IFREG | 0o755,
                                       f"#!/bin/sh\necho ready > /dev/console\n{last}\n".encode()))
        archive.add("dev", cpio.Entry(stat.S_IFDIR | 0o755, b""))
        path = os.path.join(folder, f"{name}.cpio")
        with open(path, "wb") as out:
            out.write(archive.pack())
        return path

    def command(self, initrd):
        khz = str(int(float(next(line.split(":")[1] for line in open("/proc/cpuinfo")
                                 if line.startswith("cpu MHz"))) * 1000))
        return ["qemu-system-x86_64", "-M", f"q35,accel={self.accel},hpet=off", "-cpu", cpu_of(self.accel), "-m",
                "2048", "-nodefaults", "-no-user-config", "-display", "none",
                "-no-reboot", "-kernel", os.path.join(GUEST, "vmlinux"), "-initrd", initrd, "-append",
                f"console=hvc0 quiet panic=-1 mitigations=off noreplace-smp tsc_early_khz={khz}",
                "-device", "virtio-serial-pci", "-chardev", "stdio,id=c", "-device",
                "virtconsole,chardev=c"]

    def boot(self):
        return first_output(self.command(self.ending))

    def idle_share(self):
        """Of a processor, while the guest sleeps."""
        with subprocess.Popen(self.command(self.idle), stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL) as p:
            with limited(p):
                ready = p.stdout.read(1)
            share = share_of([p.pid]) if ready else None
            p.kill()
        return share


class Kata:
    def __init__(self, folder):
        self.root = os.path.join(folder, "store")
        call(*self.command("load", os.path.join(GUEST, "busybox.tar")))

    def command(self, *args):
        return [os.path.join(BIN, "kata"), "--root", self.root, *args]

    def start(self, *args):
        return call(*self.command("run", "-d", "--name", "bench", *args), text=True).stdout.strip()

    def accel(self):
        try:
            return accel_of(children(self.engine(self.start("busybox", "sleep", "1000"))))
        finally:
            self.remove()

    def remove(self):
        call(*self.command("rm", "-f", "bench"))

    def engine(self, ident):
        with open(os.path.join(self.root, "containers", ident, "shim.pid")) as f:
            return int(f.read())


def sizes():
    agent = os.path.join(TREE, "build", "agent", "src", "agent", "kata-agent")
    stripped = agent + ".stripped"
    call("strip", "-o", stripped, agent)
    row("agent, stripped", mib(stripped), "aim: at most 0.5 MiB")
    os.unlink(stripped)
    row("initrd", mib(os.path.join(GUEST, "initrd")), "aim: at most 2 MiB with the tuned kernel")


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def agent_memory():
    """Of the agent as it serves, in namespaces of this host: the guest's is nobody's to look at."""
    with open("/proc/self/mounts", encoding="ascii") as f:
        roots = [line.split()[1] for line in f if line.split()[2] == "cgroup2"]
    if not roots:
        row("agent, resident", "-", "this host has no cgroup2 to start it in")
        return
    cgroup = os.path.join(roots[0], f"kata-bench-{os.getpid()}")
    folder = tempfile.mkdtemp(prefix="kata-bench.")
    os.mkdir(cgroup)
    path = os.path.join(folder, "agent.sock")
    agent = os.path.join(TREE, "build", "agent", "kata-agent")
    p = subprocess.Popen(["unshare", "--fork", "--pid", "--mount", "--mount-proc", "--net", "--uts",
                          "--ipc", "--kill-child", agent, "--no-boot", "--server-addr",
                          "unix://" + path, "--cgroup-root", cgroup], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not os.path.exists(path) and time.monotonic() < end:
            time.sleep(0.05)
        with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
            child = int(f.read().split()[0])
        row("agent, resident", f"{resident_kib(child) / 1024:.2f} MiB", "aim: at most 1.5 MiB")
    finally:
        p.kill()
        p.wait()
        shutil.rmtree(folder, ignore_errors=True)
        for directory, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(directory)


def start_up(kata, bare):
    # by turns: what else the machine does meanwhile is then in both
    pairs = [(first_output(kata.command("run", "--rm", "busybox", "echo", "x")), bare.boot() if bare else 0)
             for _ in range(2 * ROUNDS)]
    cold, peer = (statistics.median(times) for times in zip(*pairs))
    row("cold start to first output", f"{cold:.2f} s")
    if bare:
        row("  bare QEMU, same kernel, to a script", f"{peer:.2f} s", f"ratio {cold / peer:.2f}; aim: at most 1.3")
    else:
        row("  bare QEMU, same kernel, to a script", "-", NO_BARE)
    if shutil.which("runc"):
        row("  runc run", f"{runc_seconds(kata):.3f} s")


def runc_seconds(kata):
    with tempfile.TemporaryDirectory() as bundle:
        call("mkdir", "-p", f"{bundle}/rootfs/bin")
        shutil.copy("/bin/busybox", f"{bundle}/rootfs/bin/echo")
        call("runc", "spec", cwd=bundle)
        with open(f"{bundle}/config.json") as f:
            text = f.read().replace('"terminal": true', '"terminal": false')
        with open(f"{bundle}/config.json", "w") as f:
            f.write(text.replace('"sh"', '"echo", "x"'))
        return seconds(lambda: call("runc", "run", "-b", bundle, f"bench{time.monotonic_ns()}"))


def running(kata):
    ident = kata.start("busybox", "sleep", "1000")
    try:
        engine = kata.engine(ident)
        row("engine, PSS", f"{pss_kib(engine) / 1024:.2f} MiB", "aim: at most 4 MiB")
        row("engine, private", f"{pss_kib(engine, private=True) / 1024:.2f} MiB")
        for pid in children(engine)[1:]:
            row(f"  {name_of(pid)}, PSS", f"{pss_kib(pid) / 1024:.1f} MiB")
        free = call(*kata.command("exec", "bench", "cat", "/proc/meminfo"), text=True).stdout
        info = {line.split(":")[0]: int(line.split()[1]) for line in free.splitlines()}
        row("guest memory in use", f"{(info['MemTotal'] - info['MemAvailable']) / 1024:.1f} MiB",
            f"of {info['MemTotal'] / 1024:.0f}")
        row("exec round trip",
            f"{seconds(lambda: call(*kata.command('exec', 'bench', 'true'))) * 1000:.0f} ms")
    finally:
        kata.remove()


def idle(kata, bare):
    try:
        share = share_of(children(kata.engine(kata.start("busybox", "sleep", "1000"))))
    finally:
        kata.remove()
    row("idle container, of one processor", f"{share * 100:.2f} %", "all its processes")
    peer = bare.idle_share() if bare else None
    if peer is None:
        row("  bare QEMU, same kernel, asleep", "-", f"it said nothing for {LIMIT_S} s" if bare else NO_BARE)
    else:
        row("  bare QEMU, same kernel, asleep", f"{peer * 100:.2f} %", f"ratio {share / peer:.2f}" if peer else "")


def throughput(kata):
    size = 256 << 20
    began = time.monotonic()
    with subprocess.Popen(kata.command("run", "--rm", "busybox", "sh", "-c",
                                       f"dd if=/dev/zero bs=64k count={size >> 16} 2>/dev/null"),
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as p, limited(p):
        first = p.stdout.read(1)
        began, got = time.monotonic(), len(first)
        while chunk := p.stdout.read(1 << 20):
            got += len(chunk)
    took = time.monotonic() - began
    row("stdout through a pipe", f"{got / took / 1e6:.0f} MB/s", "aim: at least 50 MB/s")


def main():
    if os.geteuid() != 0:
        sys.exit("bench: needs root, as kata does")
    info = kernel_info()
    row("guest kernel", info.get("version", "?"), info.get("flavour", ""))
    with tempfile.TemporaryDirectory(prefix="kata-bench.", dir="/var/tmp") as folder:
        kata = Kata(folder)
        accel = kata.accel()
        bare = Bare(folder, accel) if is_tuned() else None
        row("acceleration", accel, "of the bare QEMU, too")
        sizes()
        agent_memory()
        start_up(kata, bare)
        running(kata)
        idle(kata, bare)
        throughput(kata)


if __name__ == "__main__":
    main()
