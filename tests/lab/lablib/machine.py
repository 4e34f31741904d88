# SPDX-License-Identifier: Apache-2.0
"""One run of the laboratory's virtual machine: QEMU, its channels, its deadlines.

QEMU emulates an AMD processor with SVM in software, so that KVM inside is real on any host.
Channels are socket pairs, and files are memory: nothing of a run is in the file system.

    lab.control   lines from inside: "started", "tick" every 5 s, "status N"
    lab.out, lab.err   the command's output
    console       the kernel's log, kept in memory
    terminal      a shell's, instead of the command's output
"""

import ctypes
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time

CONSOLE_KEEP = 1 << 20
READ_MAX = 65536
CONSOLE_LOOK = READ_MAX + 80  # what one read brings, and the line before
TAIL_LINES, FATAL_LINES = 40, 200
# What the end of a kernel begins with.
FATAL = re.compile(r"Kernel panic|\bBUG: |\bOops\b|soft lockup|Out of memory: ")
PR_SET_PDEATHSIG = 1
# Without a sign of life for so long, the machine has locked up; it says "tick" every 5 s.
SILENCE_S = 90
# A processor that the kernel's watchdog has seen stuck for so long will not come back, although
# the others go on: one that runs a guest was seen to.
STUCK = re.compile(rb"soft lockup - CPU#\d+ stuck for (\d+)s")
STUCK_S = 60
BOOT_S = 180
END_S = 60


class Outcome:
    """How a run ended. `status`: the command's, or None; then `why` says what happened."""

    def __init__(self, status, why, started, console, refused=False):
        self.status = status
        self.why = why
        self.refused = refused  # QEMU has not run what it was told
        self.started = started
        self.console = console

    def console_tail(self):
        """The end of the kernel's log, from the first line that is fatal if there is one."""
        lines = self.console.decode(errors="replace").splitlines()
        fatal = next((i for i, line in enumerate(lines) if FATAL.search(line)), len(lines))
        return lines[min(fatal, max(0, len(lines) - TAIL_LINES)):][:FATAL_LINES]

    def fatal(self):
        """That line, or ""."""
        lines = self.console.decode(errors="replace").splitlines()
        return next((line for line in lines if FATAL.search(line)), "")


class TimeUp(Exception):
    """The limit for all of it: wherever the program waits."""


def time_is_up(_signal, _frame):
    raise TimeUp


def memory_file(name, data):
    fd = os.memfd_create(name)
    with os.fdopen(os.dup(fd), "wb") as out:
        out.write(data)
    return fd


def die_with_parent(signo=signal.SIGKILL, parent=None):
    """The kernel sends this process a signal when its parent ends; at once, if it was not `parent`."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signo, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signo)


def write_all(fd, data):
    """Nothing stays in a buffer that would have to be written when the time is up."""
    while data:
        data = data[os.write(fd, data):]


class Machine:
    """options: qemu, kernel, initrd (bytes), exports [(tag, path)], cpus, memory, cgroup, words,
    timeout, terminal (a lablib.terminal.Terminal or None)."""

    def __init__(self, options):
        self.options = options
        self.ends = {}
        self.pass_fds = []
        self.console = bytearray()
        self.control = b""
        self.started = False
        self.status = None
        self.stuck_s = 0
        self.heard = time.monotonic()
        self.selector = selectors.DefaultSelector()

    def channel(self, name):
        """A socket pair; returns QEMU's words for its end."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.ends[name] = ours
        self.pass_fds.append(theirs.detach())
        return ["-chardev", f"socket,id={name},fd={self.pass_fds[-1]}"]

    def port(self, name, kind="virtserialport"):
        return [*self.channel(name), "-device",
                f"{kind},bus=ports.0,chardev={name}" +
                (f",name=lab.{name}" if kind == "virtserialport" else "")]

    def file(self, name, data):
        self.pass_fds.append(memory_file(name, data))
        return f"/proc/self/fd/{self.pass_fds[-1]}"

    def argv(self):
        o = self.options
        words = ["console=ttyS0", "quiet", "loglevel=4", "panic=-1", "mitigations=off",
                 "8250.nr_uarts=1", f"lab.cgroup={o.cgroup}", *o.words]
        if o.terminal:
            words.append("lab.shell")
        argv = [*o.monitor.argv, "-name", "lab,debug-threads=on", "-no-user-config", "-nodefaults",
                "-display", "none", "-no-reboot", "-machine", "q35,accel=tcg,hpet=off",
                "-cpu", o.monitor.cpu, "-smp", str(o.cpus), "-m", str(o.memory),
                "-kernel", o.kernel, "-initrd", self.file("initrd", o.initrd),
                "-append", " ".join(words) + " ",
                "-device", "virtio-rng-pci", "-device", "virtio-serial-pci,id=ports",
                *self.channel("console"), "-serial", "chardev:console", *self.port("control")]
        if o.terminal:
            argv += self.port("terminal", "virtconsole")
        else:
            argv += [*self.port("out"), *self.port("err")]
        for tag, path in o.exports:
            argv += ["-fsdev", f"local,id={tag},path={path},security_model=none,"
                     "multidevs=remap,readonly=on",
                     "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        return argv

    def run(self):
        """Boots, and returns an Outcome when the machine has ended, however it did."""
        argv = self.argv()
        me = os.getpid()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, pass_fds=self.pass_fds,
                                   env={**os.environ, **self.options.monitor.env},
                                   preexec_fn=lambda: die_with_parent(parent=me), start_new_session=True)
        try:
            for fd in self.pass_fds:
                os.close(fd)
            signal.signal(signal.SIGALRM, time_is_up)
            signal.alarm(self.options.timeout)
            why = self.serve(process)
            signal.alarm(0)
            if why is None:
                process.wait(10)
                said = process.stdout.read().decode(errors="replace").strip()
                why = f"QEMU ended with status {process.returncode}" + (f": {said}" if said else "")
        except subprocess.TimeoutExpired:
            why = "QEMU does not end"
        except TimeUp:
            why = f"time limit of {self.options.timeout} s"
        finally:
            signal.alarm(0)
            process.kill()
            process.wait()
            process.stdout.close()
            for end in self.ends.values():
                end.close()
            self.selector.close()
        return Outcome(self.status, None if self.status is not None else why, self.started,
                       bytes(self.console), process.returncode == 1 and not self.console)

    def serve(self, process):
        """Moves bytes until QEMU's ends close (None) or a limit of the machine's is exceeded (which)."""
        boot_end = time.monotonic() + BOOT_S
        self.heard = time.monotonic()
        for name, sock in self.ends.items():
            self.selector.register(sock, selectors.EVENT_READ, name)
        if self.options.terminal:
            self.selector.register(self.options.terminal.fd, selectors.EVENT_READ, "keys")
        while set(self.ends) & {key.data for key in self.selector.get_map().values()}:
            ready = self.selector.select(1)
            now = time.monotonic()
            for key, _ in ready:
                self.take(key)
            # a reader of ours that is slow says nothing about the machine
            self.heard += time.monotonic() - now
            now = time.monotonic()
            if not self.started and now > boot_end:
                return f"not booted within {BOOT_S} s"
            if self.started and now - self.heard > SILENCE_S and self.status is None:
                return f"no sign of life for {SILENCE_S} s"
            if self.status is not None and now - self.heard > END_S:
                return f"not ended within {END_S} s of the command's end"
            if self.stuck_s >= STUCK_S and self.status is None:
                return f"a processor has been stuck for {self.stuck_s} s"
            if process.poll() is not None and not self.selector.get_map():
                break
        return None

    def take(self, key):
        """Input from one channel."""
        try:
            data = os.read(key.fileobj if isinstance(key.fileobj, int) else key.fileobj.fileno(),
                           READ_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self.selector.unregister(key.fileobj)
            return
        getattr(self, "on_" + key.data)(data)

    def on_console(self, data):
        self.console += data
        del self.console[:-CONSOLE_KEEP]
        for match in STUCK.finditer(self.console[-CONSOLE_LOOK:]):
            self.stuck_s = max(self.stuck_s, int(match.group(1)))

    def on_out(self, data):
        write_all(sys.stdout.fileno(), data)

    def on_err(self, data):
        write_all(sys.stderr.fileno(), data)

    def on_terminal(self, data):
        self.options.terminal.write(data)

    def on_keys(self, data):
        self.ends["terminal"].setblocking(True)
        self.ends["terminal"].sendall(data)
        self.ends["terminal"].setblocking(False)

    def on_control(self, data):
        self.heard = time.monotonic()
        *lines, self.control = (self.control + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            if word == "started":
                self.started = True
            elif word == "status" and rest.isdigit():
                self.status = int(rest)
