# SPDX-License-Identifier: Apache-2.0
"""What tests with a real containerd share: a daemon of the test's own, and `ctr`.

The daemon has its root, state, sockets and configuration in a temporary directory, finds the
engine on its PATH as containerd does, and runs in the namespaces of kata_case.isolate().
"""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import commands
from kata_case import BIN, BUSYBOX, MARK, SLOWNESS, check_unchanged, footprint, loop_device

IMAGE = "docker.io/library/busybox:latest"
RUNTIME = "io.containerd.kata.v2"
LIMIT = 120 * SLOWNESS  # seconds for one call of ctr
READY_S = 30 * SLOWNESS

CONFIG = """version = 2
root = "{root}/root"
state = "{root}/state"
disabled_plugins = [{disabled}]
[grpc]
  address = "{root}/c.sock"
[debug]
  level = "debug"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
{more}
"""
DISABLED = ("io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",
            "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
            "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing")


def own_run_containerd():
    """`ctr` makes its fifos in /run/containerd whatever it is told: a directory of our own."""
    if os.geteuid() == 0 and os.environ.get(MARK) == "1":
        os.environ[MARK] = "2"
        os.makedirs("/run/containerd", exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "kata-test", "/run/containerd"], check=True)


own_run_containerd()


def use_given_programs():
    """KATA_TEST_CONTAINERD names a directory with another containerd and its ctr."""
    given = os.environ.get("KATA_TEST_CONTAINERD")
    if given:
        os.environ["PATH"] = f"{given}:{os.environ['PATH']}"


use_given_programs()


def missing(programs=("containerd", "ctr")):
    return [name for name in programs if not shutil.which(name)]


def without_warnings(text):
    """What ctr itself says of old control groups is no output of the container."""
    return "".join(line for line in text.splitlines(keepends=True) if "DEPRECATION" not in line)


class Daemon:
    """One containerd; survives restarts of its process."""

    def __init__(self, root, config, env):
        self.root = root
        self.socket = os.path.join(root, "c.sock")
        self.log_path = os.path.join(root, "log")
        self.env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **env}
        self.process = None
        self.config = os.path.join(root, "config.toml")
        with open(self.config, "w", encoding="ascii") as f:
            f.write(config)

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(["containerd", "--config", self.config],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.env, start_new_session=True)
        end = time.monotonic() + READY_S
        while self.ctr("version").returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError("containerd does not start:\n" + self.log_tail())
            time.sleep(0.1)

    def stop(self, sig=signal.SIGTERM):
        if not self.process:
            return
        self.process.send_signal(sig)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        self.process = None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def log_tail(self):
        """The last lines, each cut, for a failed test's message."""
        return "\n".join(line[:300] for line in self.log().splitlines()[-25:])

    def argv(self, *args, namespace="default"):
        return ["ctr", "--address", self.socket, "--namespace", namespace, *args]

    def ctr(self, *args, namespace="default", stdin=None, timeout=LIMIT, text=True):
        done = commands.run(self.argv(*args, namespace=namespace), input=stdin, timeout=timeout,
                            stdin=None if stdin is not None else subprocess.DEVNULL, text=text)
        if text:
            done.stderr = without_warnings(done.stderr)
        return done


class ContainerdCase(unittest.TestCase):
    """A daemon for the class with the busybox image; each test leaves the host as it was."""

    failureException = commands.Failure
    config_text = ""  # of the whole file; else CONFIG with these two
    more = ""
    disabled = DISABLED
    env = {}  # of the daemon, besides this process's

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        if missing():
            raise unittest.SkipTest("not on the PATH: " + ", ".join(missing()))
        cls.root = tempfile.mkdtemp(prefix="kata-ctr.", dir="/var/tmp")
        cls.addClassCleanup(cls.clean_root)
        cls.prepare()
        cls.daemon = Daemon(cls.root, cls.config_text or CONFIG.format(
            root=cls.root, more=cls.more,
            disabled=", ".join(f'"{name}"' for name in cls.disabled)), cls.env)
        cls.addClassCleanup(lambda: cls.daemon.stop())
        cls.daemon.start()
        cls.load_images()

    @classmethod
    def prepare(cls):
        """Before the daemon starts: files below cls.root, cls.more or cls.config_text."""

    @classmethod
    def load_images(cls):
        cls.ok("image", "import", BUSYBOX)

    @classmethod
    def clean_root(cls):
        with open("/proc/self/mounts", encoding="utf-8") as f:
            for line in reversed(f.readlines()):
                if line.split()[1].startswith(cls.root + "/"):
                    subprocess.run(["umount", "-l", line.split()[1]], check=False)
        shutil.rmtree(cls.root, ignore_errors=True)

    def setUp(self):
        self.before = footprint(self.root)
        self.started = []
        self.addCleanup(self.check_nothing_left)

    def check_nothing_left(self):
        for process in self.started:
            process.kill()
            process.communicate(timeout=20)
        for namespace in self.ok("namespace", "ls", "-q").split():
            for name in self.ok("container", "ls", "-q", namespace=namespace).split():
                self.ctr("task", "kill", "-s", "KILL", name, namespace=namespace)
                self.ctr("task", "rm", "-f", name, namespace=namespace)
                self.ctr("container", "rm", name, namespace=namespace)
        check_unchanged(self, self.before, 15)

    @classmethod
    def ctr(cls, *args, **kw):
        return cls.daemon.ctr(*args, **kw)

    @classmethod
    def ok(cls, *args, **kw):
        """Standard output of `ctr ARGS`, which must succeed."""
        done = cls.ctr(*args, **kw)
        if done.returncode != 0:
            raise AssertionError(f"ctr {' '.join(args)}: {done.returncode}\n{done.stderr}\n"
                                 + cls.daemon.log_tail())
        return done.stdout

    def loop_device(self, content, name="disk"):
        """One of the host over a file with that content, 1 MiB."""
        return loop_device(self, os.path.join(self.root, f"{self._testMethodName}.{name}"), content)

    @classmethod
    def run_args(cls, name, *command, options=()):
        return ("run", "--runtime", RUNTIME, *options, IMAGE, name, *command)

    def run_ok(self, name, *command, options=(), **kw):
        """Standard output of `ctr run --rm`."""
        return self.ok(*self.run_args(name, *command, options=("--rm", *options)), **kw)

    def detached(self, name, *command, options=(), **kw):
        self.ok(*self.run_args(name, *(command or ("sleep", "1000")), options=("-d", *options)),
                **kw)

    def background(self, *args, namespace="default", **kw):
        """`ctr ARGS` in the background, with pipes; ended with the test."""
        kw = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
              "text": True, **kw}
        process = subprocess.Popen(self.daemon.argv(*args, namespace=namespace), **kw)
        self.started.append(process)
        return process

    @contextlib.contextmanager
    def events(self, namespace="default"):
        events = Events(self, namespace)
        try:
            yield events
        finally:
            events.end()

    def engine_pid(self, name, **kw):
        return int(self.read(self.bundle(name, **kw), "shim.pid"))

    def remove(self, name, **kw):
        """Kills and removes a detached container."""
        self.ctr("task", "kill", "-s", "KILL", name, **kw)
        self.wait_stopped(name, **kw)
        self.ok("task", "rm", name, **kw)
        self.ok("container", "rm", name, **kw)

    def status(self, name, **kw):
        for line in self.ok("task", "ls", **kw).splitlines()[1:]:
            if line.split()[0] == name:
                return line.split()[2]
        return None

    def wait_stopped(self, name, **kw):
        self.wait_until(lambda: self.status(name, **kw) in ("STOPPED", None))

    def guest_processes(self, name):
        """How many there are; ctr prints their numbers as its release does a message."""
        return len(re.findall(r"(?i)\bpid:", self.ok("task", "ps", name)))

    def wait_until(self, what, seconds=20):
        end = time.monotonic() + seconds * SLOWNESS
        while not what():
            self.assertLess(time.monotonic(), end, "not in time")
            time.sleep(0.05)

    def bundle(self, name, namespace="default"):
        return os.path.join(self.root, "state", "io.containerd.runtime.v2.task", namespace, name)

    def read(self, *parts):
        with open(os.path.join(*parts), encoding="utf-8") as f:
            return f.read()


class Events:
    """What `ctr events` prints from here on: [(topic, event), …], of tasks only."""

    def __init__(self, case, namespace):
        self.case = case
        self.all = []
        self.process = case.background("events", namespace=namespace)
        self.thread = threading.Thread(target=self.read)
        self.thread.start()
        self.began()

    def began(self):
        """The subscription is made when an event of our own comes back."""
        self.ready = threading.Event()
        end = time.monotonic() + 20
        while not self.ready.wait(0.2):
            self.case.assertLess(time.monotonic(), end, "no events come")
            self.case.ok("namespace", "label", "default", f"at={time.monotonic()}")

    def read(self):
        for line in self.process.stdout:
            topic, _, rest = line.partition(" /")[2].partition(" ")
            if topic.startswith("namespaces/"):
                self.ready.set()
            elif topic.startswith("tasks/"):
                self.all.append(("/" + topic, json.loads(rest)))

    def topics(self):
        return [topic for topic, _ in self.all]

    def wait_for(self, topic, count=1):
        self.case.wait_until(lambda: self.topics().count(topic) >= count)

    def end(self):
        self.process.terminate()
        self.process.wait(20)
        self.thread.join(20)


@contextlib.contextmanager
def folder(root, name):
    path = os.path.join(root, name)
    os.makedirs(path, exist_ok=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)
