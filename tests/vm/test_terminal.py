# SPDX-License-Identifier: Apache-2.0
"""`kata` on a terminal: keys, window size, detaching."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

from kata_case import BIN, BUSYBOX, SLOWNESS, KataCase

KERNEL = "any"
LAB = "quick"
LAB_QUICK = "Terminal.test_shell_size_and_keys Terminal.test_detach_leaves_it_running Terminal.test_closed_window"


class Session:
    """A kata command on a pseudo terminal of our own."""

    def __init__(self, root, *args, rows=24, columns=80):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen([os.path.join(BIN, "kata"), "--root", root, *args],
                                        stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = self.before = b""  # before: what stood there until the last that was expected

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, text, seconds=60):
        """Reads until `text` appears; what was seen before is dropped."""
        end = time.monotonic() + seconds * SLOWNESS
        while text.encode() not in self.seen:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"{text!r} did not appear; seen: {self.seen!r}")
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"ended before {text!r}; seen: {self.seen!r}")
            self.seen += data
        self.before, self.seen = self.seen.split(text.encode(), 1)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.master)


class Terminal(KataCase):
    def session(self, *args, **kw):
        s = Session(self.root, *args, **kw)
        self.addCleanup(s.close)
        return s

    def test_shell_size_and_keys(self):
        s = self.session("run", "--rm", "-it", "busybox", "sh", rows=33, columns=99)
        s.expect("/ # ")
        s.type("tty; stty size\n")
        s.expect("/dev/pts/0")
        s.expect("33 99")
        s.resize(50, 120)
        os.kill(s.process.pid, signal.SIGWINCH)
        time.sleep(0.5)
        s.type("stty size\n")
        s.expect("50 120")
        s.type("sleep 1000\n")
        time.sleep(0.5)
        s.type("\x03")  # Ctrl-C ends the sleep, not the shell
        s.type("echo still here $((40+2))\n")
        s.expect("still here 42")
        s.type("exit 4\n")
        self.assertEqual(s.process.wait(timeout=60 * SLOWNESS), 4)

    def test_detach_leaves_it_running(self):
        s = self.session("run", "-it", "--name", "det", "busybox", "sh")
        s.expect("/ # ")
        s.type("\x10\x11")
        self.assertEqual(s.process.wait(timeout=30 * SLOWNESS), 0)
        self.assertEqual(self.inspect("det")["state"]["status"], "running")
        x = self.session("exec", "-it", "det", "sh")
        x.expect("/ # ")
        x.type("echo $((20+3)) in exec\n")
        x.expect("23 in exec")
        x.expect("/ # ")  # the shell reads keys again: before, the end of file would be lost
        x.type("\x04")  # end of file
        self.assertEqual(x.process.wait(timeout=30 * SLOWNESS), 0)

    def test_who_leaves_ends_no_input(self):
        """The terminal stays open for a program that reads lines, as busybox' shell does not."""
        s = self.session("run", "-it", "--name", "cat", "busybox", "cat")
        s.type("first\n")
        s.expect("first\r\nfirst")
        s.type("\x10\x11")
        self.assertEqual(s.process.wait(timeout=30 * SLOWNESS), 0)
        x = self.session("exec", "-it", "cat", "sh", "-c", "echo begins; read x; echo ended >/x; sleep 100")
        x.expect("begins")
        x.type("\x10\x11")
        self.assertEqual(x.process.wait(timeout=30 * SLOWNESS), 0)
        self.kata_ok("exec", "-dt", "cat", "sh", "-c", "read x; echo ended >/t; sleep 100")
        self.kata_ok("exec", "-dit", "cat", "sh", "-c", "read x; echo ended >/it; sleep 100")
        time.sleep(1)
        out = self.kata_ok("exec", "cat", "sh", "-c", "ls / | grep -E '^(x|t|it)$'; ps -o args | grep -c '[r]ead x;'")
        self.assertEqual(out, "3\n")
        self.assertEqual(self.inspect("cat")["state"]["status"], "running")

    def test_terminal_that_nobody_types_at(self):
        for options in ("-dt", "-dit"):
            with self.subTest(options=options):
                self.kata_ok("run", options, "--name", options[1:], "busybox", "sh", "-c", "read x; echo \"read $?\"")
        time.sleep(1)
        for name in ("dt", "dit"):
            self.assertEqual(self.inspect(name)["state"]["status"], "running")
            self.assertEqual(self.kata_ok("logs", name), "")

    def test_left_with_rm_is_removed_at_its_end(self):
        s = self.session("run", "-it", "--rm", "--name", "left", "busybox", "sh")
        s.expect("/ # ")
        s.type("\x10\x11")
        self.assertEqual(s.process.wait(timeout=30 * SLOWNESS), 0)
        self.kata_ok("exec", "left", "sh", "-c", "echo later >/proc/1/fd/1")
        self.assertIn("later", self.kata_ok("logs", "left"))
        self.kata_ok("stop", "left")
        end = time.monotonic() + 30 * SLOWNESS
        while self.containers() and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual(self.containers(), [])

    def test_progress_of_a_load(self):
        """On a terminal alone, on one line, which is empty again at the end."""
        s = self.session("load", BUSYBOX)
        s.expect("\r\033[Klayer 1/1 100%")
        s.expect("\r\033[KLoaded image: busybox:latest\r\n")
        self.assertEqual(s.process.wait(timeout=30 * SLOWNESS), 0)
        quiet = self.session("load", "--quiet", BUSYBOX)
        quiet.expect("Loaded image: busybox:latest\r\n")
        self.assertEqual((quiet.process.wait(timeout=30 * SLOWNESS), quiet.before), (0, b""))
        self.assertEqual(self.kata("load", BUSYBOX).stderr, "")

    def test_closed_window(self):
        for options, kept in ((("--rm",), 0), ((), 1)):
            with self.subTest(options=options):
                s = self.session("run", "-it", *options, "busybox", "sh")
                s.expect("/ # ")
                os.close(s.master)
                s.master = os.open("/dev/null", os.O_RDWR)
                s.process.wait(timeout=30 * SLOWNESS)
                self.assertEqual(len(self.containers()), kept)


if __name__ == "__main__":
    unittest.main(verbosity=2)
