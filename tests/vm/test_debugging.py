# SPDX-License-Identifier: Apache-2.0
"""What there is to find out about a guest: its console, its agent's words, a shell in it."""
import errno
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import termios
import time
import unittest

from bad_case import BadCase, wait_until
from kata_case import BIN, BUILD, SLOWNESS

KERNEL = "Console.test_socket Console.test_virtio_serial Logs.test_agent Logs.test_console"
LAB = "quick"
TIMEOUT_S = 600
RUNTIME = os.path.join(BIN, "kata-runtime")
HAS_VSOCK = os.path.exists("/dev/vhost-vsock")


def read_until(fd, pattern, seconds=20):
    """What comes from a descriptor until it matches."""
    got, end = b"", time.monotonic() + seconds * SLOWNESS
    while not re.search(pattern, got):
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            raise AssertionError(f"no {pattern!r} in {got!r}")
        try:
            data = os.read(fd, 4096)
        except OSError as e:
            if e.errno != errno.EIO:  # what a master gives when nobody has the terminal
                raise
            data = b""
        if not data:
            raise AssertionError(f"ended: no {pattern!r} in {got!r}")
        got += data
    return got


class Sandboxes(BadCase):
    def started(self, hypervisor=None, agent=None, options=()):
        """The id of a container that sleeps, with these settings."""
        done = self.kata("--config", self.config(hypervisor, agent), "run", "-d", "--network", "none", *options,
                         "busybox", "sleep", "1000")
        self.assertEqual(done.returncode, 0, done.stderr)
        ident = done.stdout.strip()
        self.addCleanup(self.kata, "rm", "-f", ident)
        return ident

    def log_of(self, ident):
        with open(os.path.join(self.root, "containers", ident, "shim.log"), encoding="utf-8") as f:
            return f.read()


class Logs(Sandboxes):
    """`enable_debug` of each part, alone."""

    def test_nothing_of_the_guest_by_default(self):
        log = self.log_of(self.started())
        self.assertNotIn("agent: ", log)
        self.assertNotIn("console: ", log)

    def test_console(self):
        log = self.log_of(self.started(hypervisor={"enable_debug": True}))
        self.assertRegex(log, r"level=\"?info\"? .*console: .*Linux version")
        self.assertNotIn("agent: ", log)

    def test_agent(self):
        log = self.log_of(self.started(agent={"enable_debug": True}))
        self.assertRegex(log, r"agent: .*serves")
        self.assertRegex(log, r"agent: .*container created")
        self.assertNotIn("looks at its cache of files every", log)  # our kernels tell when to
        self.assertNotIn("console: ", log)

    def test_agent_that_warns(self):
        """Though nobody asked: what it cannot do is for the host's log."""
        log = self.log_of(self.started(hypervisor={"kernel_params": "agent.debug_console"}))
        self.assertRegex(log, r"agent: .*agent.debug_console: the guest has no")


class Console(Sandboxes):
    def enter(self, ident, *options):
        """`kata-runtime exec` on a terminal: (process, the terminal's master)."""
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        p = subprocess.Popen([RUNTIME, "exec", *options, ident], stdin=slave, stdout=slave,
                             stderr=slave, start_new_session=True)
        os.close(slave)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p, master

    def with_transport(self, transport):
        ident = self.started(hypervisor={"transport": transport}, agent={"debug_console_enabled": True})
        with self.subTest("a shell of the guest, not of the container"):
            p, master = self.enter(ident, "--kata-debug-port", "1026")
            read_until(master, rb"[#$] ")
            os.write(master, b"ls -d /sys/fs/cgroup/*/; cat /proc/1/comm; echo $((6*7))\r")
            out = read_until(master, rb"\n42")
            self.assertIn(b"init\r\n", out)
        with self.subTest("Ctrl-C is the shell's"):
            os.write(master, b"echo $((4*4)); sleep 1000\r")
            read_until(master, rb"\n16")
            time.sleep(1)  # that the shell has given it the terminal
            os.write(master, b"\x03")
            read_until(master, rb"[#$] ")
            os.write(master, b"echo $((5*5))\r")
            read_until(master, rb"\n25")
        with self.subTest("its end is ours"):
            os.write(master, b"exit\r")
            self.assertEqual(p.wait(20 * SLOWNESS), 0)
        with self.subTest("another one, with its input from a pipe"):
            done = subprocess.run([RUNTIME, "exec", ident], input=b"echo $((7*11))\n", timeout=60 * SLOWNESS,
                                  capture_output=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, rb"\n77")
        with self.subTest("ended from outside: its terminal is as before"):
            p, master = self.enter(ident)
            read_until(master, rb"[#$] ")
            self.assertFalse(termios.tcgetattr(master)[3] & termios.ICANON)
            p.terminate()
            self.assertEqual(p.wait(20 * SLOWNESS), 1)
            self.assertTrue(termios.tcgetattr(master)[3] & termios.ICANON)
        with self.subTest("left by its keys"):
            p, master = self.enter(ident)
            read_until(master, rb"[#$] ")
            os.write(master, b"\x10\x11")
            self.assertEqual(p.wait(20 * SLOWNESS), 0)
        self.assertEqual(self.kata("exec", ident, "echo", "alive").stdout, "alive\n")
        return ident

    def test_virtio_serial(self):
        ident = self.with_transport("virtio-serial")
        first, master = self.enter(ident)
        read_until(master, rb"[#$] ")
        with self.subTest("one at a time"):
            _, other = self.enter(ident)
            read_until(other, rb"somebody has the serial console already")
            done = subprocess.run([RUNTIME, "exec", ident], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("somebody has the serial console already", done.stderr)
        with self.subTest("the sandbox's end is the session's"):
            self.kata_ok("rm", "-f", ident)
            self.assertEqual(first.wait(20 * SLOWNESS), 0)

    @unittest.skipUnless(HAS_VSOCK, "needs /dev/vhost-vsock; tests/run --suite lab has it")
    def test_vsock(self):
        ident = self.with_transport("vsock")
        with self.subTest("several at once"):
            for n in (1, 2):
                _, master = self.enter(ident)
                read_until(master, rb"[#$] ")
                os.write(master, f"echo $(({n}+70))\r".encode())
                read_until(master, f"\n7{n}".encode())

    def test_name_servers(self):
        """The guest's own programs ask those that its container is given."""
        servers = self.file("resolv.conf", "# of the test\nnameserver 192.0.2.7\nsearch a.test b.test\n")
        ident = self.started(agent={"debug_console_enabled": True}, options=("-v", f"{servers}:/etc/resolv.conf"))
        done = subprocess.run([RUNTIME, "exec", ident], input=b"cat /etc/resolv.conf\n", capture_output=True,
                              timeout=60 * SLOWNESS, check=False)
        self.assertIn(b"nameserver 192.0.2.7\r\nsearch a.test b.test\r\n", done.stdout)
        self.assertNotIn(b"of the test", done.stdout)
        self.kata_ok("rm", "-f", ident)

    def test_socket(self):
        """For root alone, and many who connect and say nothing cost only themselves."""
        ident = self.started(agent={"debug_console_enabled": True})
        path = f"/run/kata/{ident}/console.sock"
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        held = []
        for _ in range(20):
            s = socket.socket(socket.AF_UNIX)
            self.addCleanup(s.close)
            s.settimeout(20)
            s.connect(path)
            held.append(s)
        self.assertEqual(self.kata("exec", ident, "echo", "alive").stdout, "alive\n")
        for s in held:
            s.close()
        wait_until(lambda: b"42" in subprocess.run([RUNTIME, "exec", ident], input=b"echo $((6*7))\n",
                                                   timeout=60 * SLOWNESS, capture_output=True,
                                                   check=False).stdout)

    def test_guest_that_takes_no_input(self):
        """Its shell is stopped: who types is told in time, and so is who comes next."""
        ident = self.started(hypervisor={"transport": "virtio-serial"}, agent={"debug_console_enabled": True})
        # it takes some after all: the way there is neither full nor empty then
        stopping = b"stty raw; sleep 3; head -c 200000 > /dev/null; kill -STOP $$\n"
        for words, data in ((b"has not taken any input for 10 s", stopping + bytes(8 << 20)),
                            (b"timed out", b"")):
            done = subprocess.run([RUNTIME, "exec", ident], input=data, timeout=90 * SLOWNESS, capture_output=True,
                                  check=False)
            self.assertEqual(done.returncode, 1, done)
            self.assertRegex(done.stderr, words)
        self.assertEqual(self.kata("exec", ident, "echo", "alive").stdout, "alive\n")

    def test_refusals(self):
        plain = self.started()
        for args, words in (((plain,), ("has no debug console", "debug_console_enabled")),
                            (("none",), ("'none'", "does not run")),
                            (("../x",), ("no id",)),
                            ((), ("takes the id",)),
                            (("-p", "99", plain), ("1026",)),
                            (("-p", "x", plain), ("port",))):
            with self.subTest(args=args):
                done = subprocess.run([RUNTIME, "exec", *args], stdin=subprocess.DEVNULL, text=True,
                                      capture_output=True, timeout=20, check=False)
                self.assertEqual(done.returncode, 1)
                for word in words:
                    self.assertIn(word, done.stderr)

    def test_guest_without_a_shell(self):
        """A build without the extras: refused by name, not silently without a console."""
        there = os.path.join(self.root, "there")
        for folder in ("bin", "libexec"):
            shutil.copytree(os.path.join(BUILD, folder), os.path.join(there, folder))
        os.makedirs(os.path.join(there, "guest"))
        for name in ("vmlinux", "initrd", "kernel.info"):
            os.symlink(os.path.join(BUILD, "guest", name), os.path.join(there, "guest", name))
        done = subprocess.run([os.path.join(there, "bin/kata"), "--root", self.root, "--config",
                               self.config(agent={"debug_console_enabled": True}), "run", "--rm", "--network", "none",
                               "busybox", "true"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 125)
        self.one_line(done.stderr, "debug_console_enabled", "make guest-extras")


if __name__ == "__main__":
    unittest.main(verbosity=2)
