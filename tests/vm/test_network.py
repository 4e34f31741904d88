# SPDX-License-Identifier: Apache-2.0
"""The network "user": out, not into the host, and published ports.

Everything happens between two network namespaces made here: `kata` runs in one, a server in
the other, so that no address outside this machine is ever used.
"""
import os
import re
import subprocess
import time
import unittest

from bad_case import wait_until
from kata_case import BIN, BUILD, KataCase

LAB = "full"

MARK = os.urandom(3).hex()
HOST, FAR = f"katah{MARK}", f"kataf{MARK}"
SERVER = ("import http.server,sys;"
          "server=http.server.HTTPServer((sys.argv[1],int(sys.argv[2])),"
          "type('H',(http.server.BaseHTTPRequestHandler,),"
          "{'do_GET':lambda s:(s.send_response(200),s.end_headers(),s.wfile.write(b'hello\\n')),"
          "'log_message':lambda *a:None}));print('ready',flush=True);server.serve_forever()")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def ip(*args):
    subprocess.run(["ip", *args], check=True)


class UserNetwork(KataCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        for ns in (HOST, FAR):
            ip("netns", "add", ns)
            cls.addClassCleanup(ip, "netns", "del", ns)
            ip("-n", ns, "link", "set", "lo", "up")
        ip("-n", HOST, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", FAR)
        for ns, n in ((HOST, 1), (FAR, 2)):
            ip("-n", ns, "addr", "add", f"198.51.100.{n}/24", "dev", "veth0")
            ip("-n", ns, "addr", "add", f"2001:db8::{n}/64", "dev", "veth0", "nodad")
            ip("-n", ns, "link", "set", "veth0", "up")
        ip("-n", HOST, "route", "add", "default", "via", "198.51.100.2")
        ip("-n", HOST, "route", "add", "default", "via", "2001:db8::2")
        super().setUpClass()

    @classmethod
    def kata(cls, *args, **kw):
        """As always, but in the namespace HOST."""
        return subprocess.run(["ip", "netns", "exec", HOST, os.path.join(BIN, "kata"), "--root",
                               cls.root, *args], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=120, text=True)

    def serve(self, ns, address, port):
        p = subprocess.Popen(["ip", "netns", "exec", ns, "python3", "-c", SERVER, address, str(port)],
                             stdout=subprocess.PIPE)
        self.addCleanup(p.communicate)
        self.addCleanup(p.kill)
        self.assertEqual(p.stdout.readline(), b"ready\n")

    def test_outgoing(self):
        self.serve(FAR, "198.51.100.2", 8080)
        out = self.run_ok("busybox", "wget", "-q", "-O", "-", "http://198.51.100.2:8080/")
        self.assertEqual(out, "hello\n")

    # Whoever reaches it, by whichever protocol and family, is a line: the text or "connected".
    LISTENER = ("import selectors,socket,sys;s=selectors.DefaultSelector();port=int(sys.argv[1])\n"
                "def listen(family,address,kind):\n"
                "    one=socket.socket(family,kind);one.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n"
                "    one.bind((address,port));kind==socket.SOCK_STREAM and one.listen();s.register(one,1)\n"
                "for where in sys.argv[2:]:\n"
                "    for kind in (socket.SOCK_STREAM,socket.SOCK_DGRAM):\n"
                "        listen(socket.AF_INET6 if ':' in where else socket.AF_INET,where,kind)\n"
                "print('ready',flush=True)\n"
                "while True:\n"
                "    for key,_ in s.select():\n"
                "        if key.fileobj.type==socket.SOCK_STREAM:\n"
                "            print('connected',key.fileobj.getsockname()[0],flush=True);key.fileobj.accept()[0].close()\n"
                "        else:\n"
                "            print(key.fileobj.recv(99)[:14].decode(),key.fileobj.getsockname()[0],flush=True)\n")

    def listen(self, *addresses):
        """A file with what arrives at port 8081 of these addresses of the host."""
        out = os.path.join(self.root, "arrived")
        with open(out, "ab") as f:
            p = subprocess.Popen(["ip", "netns", "exec", HOST, "python3", "-c", self.LISTENER, "8081", *addresses],
                                 stdout=f)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.assertTrue(wait_until(lambda: read(out) == "ready\n", 30))
        return out

    def send_frames(self, *addresses, options=()):
        program = os.path.join(BUILD, "host/tests/vm/raw_frames")
        self.run_ok(*options, "-v", f"{program}:/raw_frames:ro", "busybox", "sh", "-c",
                    f"/raw_frames 8081 {' '.join(addresses)} && sleep 1")

    def test_loopback_of_the_host_is_out_of_reach(self):
        """Not by the gateway, and not by frames that no kernel sends: passt would connect to what they are for."""
        out = self.listen("127.0.0.1", "::1", "198.51.100.1", "2001:db8::1")
        gateways = self.run_ok("busybox", "sh", "-c", "ip route | awk '/default/{print $3}';"
                               "ip -6 route | awk '/default/{print $3}'").split()
        self.assertEqual(len(gateways), 2)
        for options in ((), ("-p", "8088:80")):
            with self.subTest(options=options):
                os.truncate(out, 0)
                self.send_frames("127.0.0.1", "127.1.2.3", "0.0.0.0", "0.0.0.1", "::1", "::", "::127.0.0.1",
                                 "::ffff:127.0.0.1", "::ffff:0.0.0.0", *gateways, options=options)
                self.assertEqual(read(out), "")
                self.send_frames("198.51.100.1", "2001:db8::1", options=options)  # and yet they are well-formed
                self.assertTrue(wait_until(lambda: len(read(out).splitlines()) == 4, 10), read(out))

    def test_published_port(self):
        self.published(8082, "80", ["127.0.0.1", "[::1]"])

    def test_published_port_of_the_own_name(self):
        """What servers find by their host name, and as a user that is not root."""
        self.published(8083, "$(hostname -i | tail -n 1):80", ["127.0.0.1"], "-u", "1000")

    def test_addresses_are_ready_at_once(self):
        """passt leads ports that are published on ::1 to the address of the link."""
        rows = [line.split() for line in self.run_ok("busybox", "cat", "/proc/net/if_inet6").splitlines()]
        flags = {row[3]: int(row[4], 16) for row in rows if row[5] == "eth0"}
        self.assertEqual(set(flags), {"00", "20"}, rows)  # global, link
        self.assertFalse([one for one in flags.values() if one & 0x40], rows)  # tentative

    def published(self, port, listen, loopbacks, *options):
        ident = self.kata_ok("run", "-d", "-p", f"{port}:80", *options, "busybox", "sh", "-c",
                             f"echo from the guest > /tmp/index.html; exec httpd -f -p {listen} -h /tmp").strip()
        for loopback in loopbacks:
            get = ("import urllib.request;"
                   f"print(urllib.request.urlopen('http://{loopback}:{port}/index.html',timeout=5)"
                   ".read().decode(),end='')")
            for _ in range(50):
                done = subprocess.run(["ip", "netns", "exec", HOST, "python3", "-c", get],
                                      capture_output=True, text=True, timeout=30)
                if done.returncode == 0:
                    break
                time.sleep(0.2)
            if done.returncode:  # why, before the guest is gone
                for what in (("logs", ident), ("exec", ident, "sh", "-c", "netstat -ltn; hostname -i; ip addr; ps")):
                    print(self.kata(*what))
            self.assertEqual(done.stdout, "from the guest\n", f"{loopback}: {done.stderr}")

    def test_server_that_speaks_first(self):
        """As SMTP and MySQL do: the client says nothing before it has been greeted."""
        self.kata_ok("run", "-d", "--name", "first", "-p", "8084:80", "busybox", "sh", "-c",
                     "while nc -l -p 80 -e sh -c 'echo hello; sleep 1; echo bye'; do :; done")
        get = ("import socket;s=socket.create_connection(('127.0.0.1',8084),timeout=5);"
               "print(b''.join(iter(lambda:s.recv(100),b'')).decode(),end='')")
        for _ in range(50):  # until it listens
            done = subprocess.run(["ip", "netns", "exec", HOST, "python3", "-c", get],
                                  capture_output=True, text=True, timeout=30)
            if done.stdout:
                break
            time.sleep(0.2)
        self.assertEqual(done.stdout, "hello\nbye\n", done.stderr)

    def test_port_that_is_published_twice(self):
        done = self.kata("run", "--rm", "-p", "127.0.0.1:8089:80", "-p", "198.51.100.1:8089:80", "busybox",
                         "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("port 8089 of the host is published already", done.stderr)
        self.run_ok("-p", "8089:80", "-p", "8089:80/udp", "busybox", "true")

    def test_port_in_use_is_named(self):
        self.serve(HOST, "0.0.0.0", 8083)
        done = self.kata("run", "--rm", "-p", "8083:80", "busybox", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("8083", done.stderr)

    UDP_SERVER = ("import socket,sys;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);"
                  "s.bind(('0.0.0.0',int(sys.argv[1])));print('ready',flush=True);s.recv(9)")
    UDP_ASK = ("import socket,sys;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);"
               "s.settimeout(1);s.sendto(b'hello\\n',(sys.argv[1],int(sys.argv[2])));"
               "print(s.recv(99).decode(),end='')")

    def udp_server(self, name, port):
        """A container that answers what it is sent; the completed `kata run`."""
        # Debian's busybox has nothing that speaks UDP
        return self.kata("run", "-d", "--name", name, "-p", port, "-v",
                         os.path.join(BUILD, "host/tests/vm/udp_echo") + ":/udp_echo:ro", "busybox",
                         "/udp_echo")

    def udp_ask(self, ns, address):
        return subprocess.run(["ip", "netns", "exec", ns, "python3", "-c", self.UDP_ASK, address, "8085"],
                              capture_output=True, text=True, timeout=30, check=False)

    def test_udp_port(self):
        """Who starts it is told where no answers come from."""
        server = self.udp_server("udp", "8085:85/udp")
        self.assertEqual(server.returncode, 0)
        for _ in range(20):
            done = self.udp_ask(FAR, "198.51.100.1")
            if done.returncode == 0:
                break
            time.sleep(0.2)
        self.assertEqual(done.stdout, "hello\n", done.stderr)
        warned = re.search("^kata: warning: UDP port 8085 .* loopback", server.stderr)
        self.assertEqual(self.udp_ask(HOST, "127.0.0.1").stdout, "" if warned else "hello\n")

    def test_udp_port_in_use_is_named(self):
        p = subprocess.Popen(["ip", "netns", "exec", HOST, "python3", "-c", self.UDP_SERVER, "8086"],
                             stdout=subprocess.PIPE, text=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.assertEqual(p.stdout.readline(), "ready\n")
        done = self.kata("run", "--rm", "-p", "8086:1/udp", "busybox", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("8086", done.stderr)
        self.assertIn("in use", done.stderr)

    def test_udp_port_of_the_loopback(self):
        """Answers come back, or it is refused: Debian 12's passt loses them."""
        done = self.udp_server("lo", "127.0.0.1:8087:85/udp")
        if done.returncode:
            self.assertEqual(done.returncode, 125)
            self.assertIn("loopback", done.stderr)
            return
        for _ in range(20):
            done = subprocess.run(["ip", "netns", "exec", HOST, "python3", "-c", self.UDP_ASK,
                                   "127.0.0.1", "8087"], capture_output=True, text=True, timeout=30,
                                  check=False)
            if done.returncode == 0:
                break
        self.assertEqual(done.stdout, "hello\n", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
