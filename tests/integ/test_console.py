# SPDX-License-Identifier: Apache-2.0
"""`kata-runtime exec` against a console of the test's own: what reaches either side, and how it
ends.

    test_console.py KATA_RUNTIME [unittest arguments]
"""

import errno
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import termios
import unittest

RUNTIME = sys.argv[1] if len(sys.argv) > 1 else ""
LIMIT = 30
REFUSAL = b"kata: debug console: "
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def ignore_nothing():
    """Whatever this test was started with: in a shell's background SIGINT is ignored."""
    for sig in SIGNALS:
        signal.signal(sig, signal.SIG_DFL)


class Console(unittest.TestCase):
    def setUp(self):
        self.id = f"kata-test-console-{os.getpid()}"
        folder = os.path.join("/run/kata", self.id)
        os.makedirs(folder, mode=0o700)
        self.addCleanup(shutil.rmtree, folder)
        self.server = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.server.close)
        self.server.bind(os.path.join(folder, "console.sock"))
        self.server.listen()
        self.server.settimeout(LIMIT)

    def enter(self, **streams):
        """`kata-runtime exec`: (process, our end of its connection)."""
        p = subprocess.Popen([RUNTIME, "exec", self.id], start_new_session=True,
                             **{"preexec_fn": ignore_nothing, **streams})
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        conn = self.server.accept()[0]
        conn.settimeout(LIMIT)
        self.addCleanup(conn.close)
        return p, conn

    def on_terminal(self):
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        p, conn = self.enter(stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        return p, conn, master

    def until(self, conn, end):
        got = b""
        while not got.endswith(end):
            data = conn.recv(4096)
            self.assertTrue(data, got)
            got += data
        return got

    def test_a_last_line_without_its_end(self):
        p, conn = self.enter(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        p.stdin.write(b"one\ntwo")
        p.stdin.close()
        self.assertEqual(self.until(conn, b"\x04"), b"one\ntwo\n\x04")
        conn.sendall(b"out")
        conn.close()
        self.assertEqual(p.stdout.read(), b"out")
        p.stdout.close()
        self.assertEqual(p.wait(LIMIT), 0)

    def test_no_input(self):
        p, conn = self.enter(stdin=subprocess.DEVNULL)
        self.assertEqual(self.until(conn, b"\x04"), b"\x04")
        conn.close()
        self.assertEqual(p.wait(LIMIT), 0)

    def test_refusal(self):
        p, conn = self.enter(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        conn.sendall(REFUSAL + b"8 sessions are the most\r\n")
        out, err = p.communicate(timeout=LIMIT)
        self.assertEqual((p.returncode, out), (1, b""))
        self.assertRegex(err, rb"8 sessions are the most\n$")

    def test_the_words_of_a_refusal_from_the_guest(self):
        """Only where the engine speaks: before anything of the guest's."""
        p, conn = self.enter(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        conn.sendall(b"# ")
        self.assertEqual(p.stdout.read(2), b"# ")
        conn.sendall(REFUSAL + b"no\r\n")
        conn.close()
        self.assertEqual(p.communicate(timeout=LIMIT)[0], REFUSAL + b"no\r\n")
        self.assertEqual(p.returncode, 0)

    def test_keys(self):
        p, conn, master = self.on_terminal()
        conn.sendall(b"# ")
        self.assertEqual(os.read(master, 2), b"# ")
        os.write(master, b"a\x10b\x10\x10c\x10\x11never")
        self.assertEqual(self.until(conn, b"c"), b"a\x10b\x10\x10c")
        self.assertEqual(p.wait(LIMIT), 0)
        self.assertEqual(conn.recv(10), b"")

    def test_signals_at_any_moment(self):
        """Also one that comes after the last look and before the wait."""
        for i in range(100):
            p, conn, master = self.on_terminal()
            conn.sendall(b"# ")
            self.assertEqual(os.read(master, 2), b"# ")
            self.assertFalse(termios.tcgetattr(master)[3] & termios.ICANON)
            p.send_signal(SIGNALS[i % len(SIGNALS)])
            self.assertEqual(p.wait(LIMIT), 1)
            self.assertTrue(termios.tcgetattr(master)[3] & termios.ICANON)
            conn.close()

    def test_signal_while_nobody_reads_what_it_prints(self):
        p, conn = self.enter(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(p.stdin.close)
        self.addCleanup(p.stdout.close)
        conn.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            while True:
                conn.sendall(b"x" * 65536)
        p.terminate()
        self.assertEqual(p.wait(LIMIT), 1)

    def test_ignored_signal(self):
        p, conn = self.enter(stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        conn.sendall(b"# ")
        self.assertEqual(p.stdout.read(2), b"# ")
        p.send_signal(signal.SIGHUP)
        conn.sendall(b"still here")
        conn.close()
        self.assertEqual(p.communicate(timeout=LIMIT)[0], b"still here")
        self.assertEqual(p.returncode, 0)

    def test_output_without_a_reader(self):
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        p, conn = self.enter(stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(slave)
        p.stdout.close()
        conn.sendall(b"# ")
        self.assertIn(os.strerror(errno.EPIPE).encode(), p.stderr.read())
        p.stderr.close()
        self.assertEqual(p.wait(LIMIT), 1)
        self.assertTrue(termios.tcgetattr(master)[3] & termios.ICANON)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("SKIP: the sockets of consoles are root's")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
