# SPDX-License-Identifier: Apache-2.0
"""What the tests of bad input share: a configuration of their own, and what a refusal is."""
import contextlib
import os
import signal
import subprocess
import time

from kata_case import BIN, SLOWNESS, TREE, KataCase, processes

GUEST = os.path.join(TREE, "build", "guest")
GUEST_KERNEL = os.path.join(GUEST, "vmlinux")
INITRD = os.path.join(GUEST, "initrd")


class BadCase(KataCase):
    def file(self, name, content=b"", mode=0o644):
        """A file of the class's directory; returns its path."""
        path = os.path.join(self.root, "files", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(path, mode)
        return path

    def runs_on_kvm(self):
        env = subprocess.run([os.path.join(BIN, "kata-runtime"), "env"], check=True, capture_output=True, text=True)
        return 'Acceleration = "kvm"' in env.stdout

    def config(self, hypervisor=None, agent=None, text=None):
        """A configuration file with these keys; returns its path."""
        if text is None:
            text = section("hypervisor.qemu", hypervisor) + section("agent.kata", agent)
        return self.file("configuration.toml", text)

    def start(self, *args, config=None, **kw):
        """`kata ARGS` in the background."""
        before = ["--config", config] if config else []
        return subprocess.Popen([os.path.join(BIN, "kata"), "--root", self.root, *before, *args],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, **kw)

    def call(self, *args, config=None, within=30, **kw):
        """`kata ARGS`, at most `within` seconds; returns the completed process."""
        before = ["--config", config] if config else []
        began = time.monotonic()
        within *= SLOWNESS
        done = self.kata(*before, *args, timeout=within + 60, **kw)
        self.assertLess(time.monotonic() - began, within, done.stderr)
        return done

    def refused(self, *words, config=None, within=20, options=(), code=125):
        """A run that must fail, in time, with one line that holds the words."""
        done = self.call("run", "--rm", "--network", "none", *options, "busybox", "true",
                         config=config, within=within)
        self.assertEqual(done.returncode, code, done.stderr)
        self.one_line(done.stderr, *words)
        self.assertEqual(self.containers(), [])
        return done.stderr

    def one_line(self, text, *words):
        self.assertTrue(text.startswith("kata: "), text)
        self.assertEqual(text.count("\n"), 1, text)
        self.assertTrue(text.isprintable() or text[:-1].isprintable(), repr(text))
        for word in words:
            self.assertIn(word, text)

    def works(self, config=None, options=()):
        done = self.call("run", "--rm", "--network", "none", *options, "busybox", "echo", "well",
                         config=config, within=60)
        self.assertEqual((done.returncode, done.stdout), (0, "well\n"), done.stderr)


def section(name, keys):
    if not keys:
        return ""
    lines = [f"{key} = {toml(value)}" for key, value in keys.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def wait_until(what, seconds=20):
    """Whether `what` comes true in time."""
    end = time.monotonic() + seconds * SLOWNESS
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class EndCase(BadCase):
    """What the tests of processes that end or hang share."""

    def ours(self, *names):
        """Process ids of our programs that this test has started."""
        return [pid for pid, name in processes().items()
                if name in names and pid not in self.before["processes"]]

    def kill(self, name, sig=signal.SIGKILL):
        found = self.ours(name)
        self.assertTrue(found, name)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):  # one of a pair ends the other
                os.kill(pid, sig)
        return found[0]

    def detached(self, name, *command):
        done = self.call("run", "-d", "--name", name, "--network", "none", "busybox",
                         *(command or ("sleep", "1000")), within=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def all_gone(self):
        self.assertTrue(wait_until(lambda: set(processes()) <= set(self.before["processes"])),
                        processes())
