#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Measures the engine under containerd beside runc, and beside a bare QEMU, in the same run.

Prints figures and ratios and asserts nothing. Run as root from a built tree: make bench. BENCH_ROUNDS
says how often each is done, BENCH_SANDBOXES how many sandboxes there are at most (30).
"""
import contextlib
import os
import shutil
import socket
import stat
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TREE, "tests/vm"), os.path.join(TREE, "guest"), HERE]
import grpc_client as rpc  # noqa: E402
from bench import NO_BARE, ROUNDS, accel_of, cpu_of, is_tuned, limited, pss_kib, row, seconds  # noqa: E402
from containerd_case import IMAGE, missing  # noqa: E402
from cri_case import CONTAINER, CriCase  # noqa: E402
from guestlib import cpio  # noqa: E402
from kata_case import processes  # noqa: E402

PROBE = os.path.join(TREE, "build/host/tests/bench/bench_probe")
GUEST = os.path.join(TREE, "build/guest")
SANDBOXES = int(os.environ.get("BENCH_SANDBOXES", "30"))
FILE_MIB, SEND_MIB, ROUND_TRIPS = 64, 64, 500
PORT = 5000
NET, TAP = "kata-bench", "kata-tap"
RUNC = """
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
VIRTIOFSD = (("/usr/libexec/virtiofsd", ["--shared-dir={dir}", "--cache=auto"]),
             ("/usr/lib/qemu/virtiofsd", ["-o", "source={dir}", "-o", "cache=auto"]))


def compare(what, ours, theirs, unit, peer, digits=2):
    """`theirs` may be the reason why there is no figure."""
    row(what, f"{ours:.{digits}f} {unit}")
    if isinstance(theirs, str):
        row(f"  {peer}", "-", theirs)
    else:
        row(f"  {peer}", f"{theirs:.{digits}f} {unit}", f"ratio {ours / theirs:.2f}")


class Bench(CriCase):
    """A containerd with both runtimes; not a test."""

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.more += RUNC

    @classmethod
    def load_images(cls):
        super().load_images()
        cls.ok("image", "import", os.path.join(GUEST, "busybox.tar"))

    def run_by(self, runtime, *options, name="bench", command=("true",)):
        return self.ok("run", "--runtime", runtime, *options, IMAGE, name, *command)

    def pod_by(self, handler, containers):
        """Seconds until a pod runs with so many containers; it is gone afterwards."""
        name = f"{handler}-{time.monotonic_ns()}"
        config = self.pod_config(name)
        began = time.monotonic()
        pod = rpc.text(self.cri("RunPodSandbox", {1: config, 2: handler}), 1)
        for i in range(containers):
            ident = rpc.text(self.cri("CreateContainer", {1: pod, 2: {
                1: {1: f"c{i}"}, 2: {1: IMAGE}, 3: ["sleep", "1000"], 11: f"{name}-{i}.log",
                15: {2: {3: {2: CONTAINER}}}}, 3: config}), 1)
            self.cri("StartContainer", {1: ident})
        took = time.monotonic() - began
        self.cri("StopPodSandbox", {1: pod})
        self.cri("RemovePodSandbox", {1: pod})
        return took


KATA, PEER = "io.containerd.kata.v2", "io.containerd.runc.v2"


def starts(bench):
    both = [seconds(lambda r=runtime: bench.run_by(r, "--rm")) for runtime in (KATA, PEER)]
    compare("ctr run --rm", *both, "s", "with runc")
    for count in (1, 10):
        both = [statistics.median(bench.pod_by(handler, count) for _ in range(min(ROUNDS, 3)))
                for handler in ("kata", "runc")]
        compare(f"pod with {count} container{'s' * (count > 1)}", *both, "s", "with runc")
    both = []
    for runtime in (KATA, PEER):
        bench.run_by(runtime, "-d", command=("sleep", "1000"))
        both.append(seconds(lambda: bench.ok("task", "exec", "--exec-id", str(time.monotonic_ns()),
                                             "bench", "true")))
        bench.remove("bench")
    compare("ctr task exec", *both, "s", "with runc", 3)


# ---- a bare QEMU ----


@contextlib.contextmanager
def bare(accel, folder, script, *devices):
    """QEMU with our kernel and arguments, whose guest runs a shell script; its output's pipe."""
    archive = cpio.Archive()
    for name, path in (("busybox", "/bin/busybox"), ("probe", PROBE)):
        with open(path, "rb") as f:
            archive.add("bin/" + name, cpio.Entry(stat.S_IFREG | 0o755, f.read()))
    archive.add("bin/sh", cpio.Entry(stat.S_IFLNK | 0o777, b"busybox"))
    for name in ("dev", "mnt", "proc"):
        archive.add(name, cpio.Entry(stat.S_IFDIR | 0o755, b""))
    archive.add("init", cpio.Entry(stat.S_IFREG | 0o755, (
        "#!/bin/sh\nbusybox mount -t devtmpfs dev /dev\nexec >/dev/console 2>&1\n" + script +
        "\nbusybox poweroff -f\n").encode()))
    initrd = os.path.join(folder, "bare.cpio")
    with open(initrd, "wb") as out:
        out.write(archive.pack())
    argv = ["qemu-system-x86_64", "-M", f"q35,accel={accel},hpet=off,memory-backend=mem", "-cpu", cpu_of(accel), "-m",
            "512", "-object", "memory-backend-memfd,id=mem,size=512M,share=on", "-nodefaults",
            "-no-user-config", "-display", "none", "-no-reboot", "-kernel",
            os.path.join(GUEST, "vmlinux"), "-initrd", initrd, "-append",
            "console=hvc0 quiet panic=-1 mitigations=off init_on_alloc=1", "-device",
            "virtio-serial-pci", "-chardev", "stdio,id=c", "-device", "virtconsole,chardev=c", *devices]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as p, limited(p):
        try:
            yield p.stdout
        finally:
            p.kill()


def accel(bench):
    """What kata's machines run on here."""
    bench.run_by(KATA, "-d", command=("sleep", "1000"))
    try:
        return accel_of(processes())
    finally:
        bench.remove("bench")


@contextlib.contextmanager
def virtiofsd(folder, directory):
    program, options = next(((p, o) for p, o in VIRTIOFSD if os.path.exists(p)), (None, None))
    if not program:
        yield None
        return
    path = os.path.join(folder, "fs.sock")
    with subprocess.Popen([program, f"--socket-path={path}",
                           *(word.format(dir=directory) for word in options)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        try:
            end = time.monotonic() + 10
            while not os.path.exists(path) and time.monotonic() < end:
                time.sleep(0.02)
            yield path
        finally:
            p.kill()


# ---- files ----

SHARE_ROWS = {"write": ("write", "MB/s"), "read": ("read", "MB/s"), "random-read": ("random 4 KiB reads", "/s"),
              "random-write": ("random 4 KiB writes", "/s")}


def figures(lines):
    """A figure for each of SHARE_ROWS, of what the probe says."""
    found = {}
    for line in lines:
        word, _, value = line.strip().partition(" ")
        if word in SHARE_ROWS:
            found[word] = float(value)
        if len(found) == len(SHARE_ROWS):
            break
    return found


def files(bench, folder):
    directory = os.path.join(folder, "shared")
    os.makedirs(directory)
    mounts = [word for source, target in ((directory, "/mnt"), (PROBE, "/probe"))
              for word in ("--mount", f"type=bind,src={source},dst={target},options=rbind:rw")]
    ours = figures(bench.run_by(KATA, "--rm", *mounts, command=(
        "/probe", "io", "/mnt", str(FILE_MIB))).splitlines())
    theirs = bare_files(bench, folder, directory)
    for word, (what, unit) in SHARE_ROWS.items():
        compare(f"share: {what}", ours[word], theirs if isinstance(theirs, str) else theirs.get(
            word, "it did not say"), unit, "bare QEMU, virtio-fs", 0)


def bare_files(bench, folder, directory):
    """Its figures, or why there are none."""
    if not is_tuned():
        return NO_BARE
    with virtiofsd(folder, directory) as path:
        if not path:
            return "there is no virtiofsd for it"
        with bare(bench.accel, folder, f"busybox mount -t virtiofs share /mnt\nprobe io /mnt {FILE_MIB}",
                  "-chardev", f"socket,id=fs,path={path}", "-device",
                  "vhost-user-fs-pci,chardev=fs,tag=share") as said:
            return figures(said)


# ---- network ----


def ip(*args):
    subprocess.run(["ip", *args], check=True)


def connect(address, kind):
    end = time.monotonic() + 30
    while True:
        try:
            s = socket.create_connection((address, PORT), timeout=60)
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.sendall(kind)
    return s


def traffic(address):
    """MB/s to the guest, and microseconds of a round trip."""
    with connect(address, b"s") as s:
        chunk = bytes(1 << 20)
        began = time.monotonic()
        for _ in range(SEND_MIB):
            s.sendall(chunk)
        s.shutdown(socket.SHUT_WR)
        while s.recv(8):
            pass
        rate = SEND_MIB * (1 << 20) / 1e6 / (time.monotonic() - began)
    with connect(address, b"e") as s:
        took = []
        for _ in range(ROUND_TRIPS):
            began = time.monotonic()
            s.sendall(b"x")
            s.recv(1)
            took.append(time.monotonic() - began)
    return rate, statistics.median(took) * 1e6


def network(bench, folder):
    ip("netns", "add", NET)
    try:
        ip("link", "add", NET, "type", "veth", "peer", "name", "eth0", "netns", NET)
        ip("addr", "add", "198.51.100.1/30", "dev", NET)
        ip("link", "set", NET, "up")
        ip("-n", NET, "addr", "add", "198.51.100.2/30", "dev", "eth0")
        ip("-n", NET, "link", "set", "eth0", "up")
        bench.run_by(KATA, "-d", "--with-ns", f"network:/var/run/netns/{NET}", "--mount",
                     f"type=bind,src={PROBE},dst=/probe,options=rbind:ro",
                     command=("/probe", "serve", str(PORT)))
        ours = traffic("198.51.100.2")
        bench.remove("bench")
    finally:
        ip("netns", "del", NET)
    theirs = bare_traffic(bench, folder) if is_tuned() else (NO_BARE, NO_BARE)
    compare("TCP to the container", ours[0], theirs[0], "MB/s", "bare QEMU on a tap", 0)
    compare("TCP round trip", ours[1], theirs[1], "us", "bare QEMU on a tap", 0)


def bare_traffic(bench, folder):
    ip("tuntap", "add", TAP, "mode", "tap")
    try:
        ip("addr", "add", "198.51.100.5/30", "dev", TAP)
        ip("link", "set", TAP, "up")
        with bare(bench.accel, folder, "busybox ip addr add 198.51.100.6/30 dev eth0\nbusybox ip link set eth0 up\n"
                  f"probe serve {PORT}", "-netdev", f"tap,id=n,ifname={TAP},script=no,downscript=no",
                  "-device", "virtio-net-pci,netdev=n"):
            return traffic("198.51.100.6")
    finally:
        ip("link", "del", TAP)


# ---- many ----


def memory():
    """MiB (PSS) by program, of all that runs for sandboxes here."""
    found = {}
    for pid, name in processes().items():
        with contextlib.suppress(OSError):
            found[name] = found.get(name, 0) + pss_kib(pid) / 1024
    return found


def many(bench):
    names = []
    try:
        for count in range(1, SANDBOXES + 1):
            began = time.monotonic()
            bench.run_by(KATA, "-d", name=f"m{count}", command=("sleep", "10000"))
            took = time.monotonic() - began
            names.append(f"m{count}")
            if count in (1, 10, 20, 30, SANDBOXES):
                used = memory()
                row(f"start of sandbox {count}", f"{took:.2f} s")
                row(f"  memory of {count}, PSS each", f"{sum(used.values()) / count:.1f} MiB", ", ".join(
                    f"{name} {value / count:.1f}" for name, value in sorted(used.items())))
    finally:
        for name in names:
            bench.remove(name)


def main():
    if os.geteuid() != 0:
        sys.exit("bench: needs root, as containerd does")
    lacks = missing() + [name for name in ("runc", "qemu-system-x86_64", "ip") if not shutil.which(name)]
    if lacks:
        sys.exit("bench: not on the PATH: " + ", ".join(lacks))
    try:
        Bench.setUpClass()
        bench = Bench("run_by")
        bench.before, bench.started = {}, []
        with tempfile.TemporaryDirectory(prefix="kata-bench.", dir="/var/tmp") as folder:
            bench.accel = accel(bench)
            starts(bench)
            files(bench, folder)
            network(bench, folder)
            many(bench)
    finally:
        Bench.doClassCleanups()


if __name__ == "__main__":
    main()
