# SPDX-License-Identifier: Apache-2.0
"""Networks of a caller's network namespace: its links, as the guest has them.

Between two namespaces made here, one for the containers and one that is everybody else: no
address outside this machine is ever used.
"""
import json
import os
import re
import subprocess
import time
import unittest

import grpc_client as rpc
import hostile_initrd
from bad_case import wait_until
from containerd_case import ContainerdCase
from engine_case import STATE, UNSUPPORTED, EngineCase

KERNEL = ("Later.test_another_mtu_and_hardware_address Later.test_figures Later.test_neighbours "
          "Later.test_while_it_runs Links.test_flags_of_addresses Links.test_guest_without_ipv6 "
          "Links.test_macvtap Links.test_point_to_point Links.test_routes_of_other_tables "
          "Links.test_the_guest_has_what_the_link_has")
LAB = "full"

SLOWNESS = float(os.environ.get("KATA_TEST_SLOWNESS", "1"))
MARK = os.urandom(3).hex()
POD, FAR = f"katap{MARK}", f"kataf{MARK}"
SERVER = ("import http.server,socket,sys;"
          "S=type('S',(http.server.HTTPServer,),{'address_family':socket.AF_INET6});"
          "S((sys.argv[1],int(sys.argv[2])),type('H',(http.server.BaseHTTPRequestHandler,),"
          "{'do_GET':lambda s:(s.send_response(200),s.end_headers(),s.wfile.write(b'hello\\n')),"
          "'log_message':lambda *a:None})).serve_forever()")
DATAGRAMS = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
             "[s.sendto(bytes(1000), ('198.51.100.2', 9)) for _ in range(100)]")
GET = ("import urllib.request,sys;"
       "print(urllib.request.urlopen(sys.argv[1],timeout=5).read().decode(),end='')")


def ip(*args):
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True).stdout


class Links(ContainerdCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        ip("netns", "add", POD)  # mounts /run/netns for all that follow
        ip("netns", "del", POD)

    def setUp(self):
        super().setUp()
        for ns in (POD, FAR):
            ip("netns", "add", ns)
            self.addCleanup(ip, "netns", "del", ns)
            ip("-n", ns, "link", "set", "lo", "up")
        self.add_link("eth0", "198.51.100", "2001:db8:1:")
        ip("-n", POD, "route", "add", "default", "via", "198.51.100.1")
        ip("-n", POD, "-6", "route", "add", "default", "via", "2001:db8:1::1")

    def add_link(self, name, v4, v6):
        ip("-n", POD, "link", "add", name, "mtu", "1400", "type", "veth", "peer", "name", name,
           "netns", FAR)
        for ns, last in ((POD, 2), (FAR, 1)):
            ip("-n", ns, "addr", "add", f"{v4}.{last}/24", "dev", name)
            ip("-n", ns, "addr", "add", f"{v6}:{last}/64", "dev", name, "nodad")
            ip("-n", ns, "link", "set", name, "up")

    def options(self):
        return ("--with-ns", f"network:/var/run/netns/{POD}")

    def inside(self, *command):
        return self.run_ok("net", *command, options=self.options())

    def serve(self):
        p = subprocess.Popen(["ip", "netns", "exec", FAR, "python3", "-c", SERVER, "::", "8080"])
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        time.sleep(0.5)

    def left(self):
        links = {row["ifname"] for row in json.loads(ip("-n", POD, "-j", "link"))}
        shown = subprocess.run(["ip", "netns", "exec", POD, "tc", "qdisc"], check=True,
                               capture_output=True, text=True).stdout
        return [name for name in links if name.startswith("tap")], "ingress" in shown

    def nothing_left(self):
        self.assertEqual(self.left(), ([], False))

    def test_model_none(self):
        """A pod with links, whose machine gets none of them."""
        out = self.run_ok("net", "ls", "/sys/class/net", options=self.model("none"))
        self.assertEqual(out, "lo\n")
        self.nothing_left()

    def model(self, name):
        path = os.path.join(self.root, name + ".toml")
        with open(path, "w", encoding="ascii") as f:
            f.write(f'[runtime]\ninternetworking_model = "{name}"\n')
        return (*self.options(), "--runtime-config-path", path)

    def test_macvtap(self):
        """Both ways, and the link has what it had while it serves, and after."""
        self.serve()
        before = ip("-n", POD, "addr", "show", "eth0")
        self.detached("net", "sh", "-c", "ip -o link; echo from the guest > /index.html;"
                      "httpd -f -p 80 -h /", options=self.model("macvtap"))
        (tap,) = self.taps()
        self.assertEqual((tap["ifname"], tap["link"]), ("tap0_kata", "eth0"))
        self.fetch("http://198.51.100.2/index.html", "from the guest\n")
        self.fetch("http://[2001:db8:1::2]/index.html", "from the guest\n")
        out = self.ok("task", "exec", "--exec-id", "e", "net", "sh", "-c",
                      "wget -q -O - http://198.51.100.1:8080/;"
                      "wget -q -O - 'http://[2001:db8:1::1]:8080/'; cat /sys/class/net/eth0/address")
        self.assertEqual(out, "hello\nhello\n" + tap["address"] + "\n")
        self.remove("net")
        self.wait_until(lambda: not self.taps())
        self.nothing_left()
        self.assertEqual(ip("-n", POD, "addr", "show", "eth0").replace(" tentative", ""),
                         before.replace(" tentative", ""))

    def test_macvtap_after_the_engine_was_killed(self):
        self.detached("net", "sleep", "100", options=self.model("macvtap"))
        self.assertEqual(len(self.taps()), 1)
        os.kill(self.engine_pid("net"), 9)
        self.wait_until(lambda: self.status("net") != "RUNNING" and not self.taps())
        self.ctr("task", "rm", "net")
        self.ok("container", "rm", "net")
        self.wait_until(lambda: self.left() == ([], False))  # containerd calls `delete` by then

    def test_macvtap_of_a_link_that_has_one(self):
        ip("-n", POD, "link", "add", "link", "eth0", "name", "other", "type", "macvlan")
        done = self.ctr(*self.run_args("net", "true", options=self.model("macvtap")))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("link 'eth0': macvtap upon it (it is a macvlan, or has one): ", done.stderr)
        self.nothing_left()

    def fetch(self, url, want):
        for _ in range(50):
            done = subprocess.run(["ip", "netns", "exec", FAR, "python3", "-c", GET, url],
                                  capture_output=True, text=True, timeout=30, check=False)
            if done.returncode == 0:
                break
            time.sleep(0.2)
        self.assertEqual(done.stdout, want, done.stderr)

    def test_point_to_point(self):
        """The other side is reached, and what lies behind it; so is what has addresses of one link only."""
        ip("-n", POD, "route", "del", "default")
        ip("-n", POD, "-6", "route", "del", "default")
        for own, peer, more in (("203.0.113.2", "203.0.113.1/32", ()), ("2001:db8:2::2", "2001:db8:3::1/128", ("nodad",))):
            ip("-n", POD, "addr", "add", own, "peer", peer, "dev", "eth0", *more)
        ip("-n", FAR, "addr", "add", "203.0.113.1/24", "dev", "eth0")
        ip("-n", FAR, "addr", "add", "2001:db8:3::1/64", "dev", "eth0", "nodad")
        ip("-n", FAR, "route", "add", "2001:db8:2::/64", "dev", "eth0")
        ip("-n", POD, "route", "add", "default", "via", "203.0.113.1")
        ip("-n", POD, "-6", "route", "add", "default", "via", "2001:db8:3::1")
        ip("-n", POD, "addr", "add", "169.254.7.7/16", "scope", "link", "dev", "eth0")
        ip("-n", FAR, "addr", "add", "169.254.7.1/16", "dev", "eth0")
        source = re.search(r"src (\S+)", ip("-n", POD, "route", "get", "192.0.2.9")).group(1)
        self.assertEqual(source, "203.0.113.2")  # neither the first one nor the one of the link alone
        out = self.inside("sh", "-c", "ip route get 192.0.2.9; ip -o addr; ip route; ip -6 route; for i in 203.0.113.1 169.254.7.1 2001:db8:3::1; do "
                          "ping -c 1 -W 5 $i | grep -q ' 0% packet loss' && echo there $i; done")
        for text in ("203.0.113.2/32", f"src {source}", "203.0.113.1 dev eth0 scope link", "default via 203.0.113.1", "169.254.7.7/16",
                     "default via 2001:db8:3::1", "there 203.0.113.1", "there 169.254.7.1", "there 2001:db8:3::1"):
            self.assertIn(text, out)

    def test_kernel_parameters(self):
        """What the CNI plug-in "tuning" or Docker has set in the namespace, and nothing else."""
        self.add_link("net1", "203.0.113", "2001:db8:2:")
        wanted = {"net/ipv4/conf/eth0/arp_ignore": "2", "net/ipv4/conf/eth0/forwarding": "1", "net/ipv6/conf/eth0/accept_ra": "0",
                  "net/ipv6/conf/net1/disable_ipv6": "1", "net/core/somaxconn": "777", "net/ipv4/ip_unprivileged_port_start": "80",
                  # which the kernel takes after the one before alone
                  "net/ipv4/ip_local_port_range": "500 65000", "net/ipv6/conf/all/forwarding": "1"}
        for key, value in {**wanted, "net/ipv4/conf/all/proxy_arp": "1"}.items():
            ip("netns", "exec", POD, "sh", "-c", f"echo {value} > /proc/sys/{key}")
        wanted.update({"net/ipv4/conf/eth0/proxy_arp": "1", "net/ipv4/conf/net1/arp_ignore": "0"})
        out = self.inside("sh", "-c", "cd /proc/sys; cat " + " ".join(wanted) + "; ip -6 addr show dev net1")
        self.assertEqual(out.split(), " ".join(wanted.values()).split())

    def test_flags_of_addresses(self):
        """No on-link route where the host has none, an address that is not preferred, and a link-local one made by hand."""
        for address, *more in (("203.0.113.2/24", "noprefixroute"), ("2001:db8:7::2/64", "noprefixroute", "nodad"),
                               ("192.0.2.2/25", "noprefixroute"), ("2001:db8:8::2/64", "preferred_lft", "0", "nodad"),
                               ("fe80::1234/64", "nodad")):
            ip("-n", POD, "addr", "add", address, "dev", "eth0", *more)
        # as NetworkManager does
        ip("-n", POD, "route", "add", "192.0.2.0/25", "dev", "eth0", "proto", "kernel", "scope", "link", "src", "192.0.2.2")
        out = self.inside("sh", "-c", "ip -o addr; ip route; ip -6 route")
        for text in ("203.0.113.2/24", "2001:db8:7::2/64", "192.0.2.0/25 dev eth0", "2001:db8:8::/64 dev eth0", "fe80::1234/64"):
            self.assertIn(text, out)
        self.assertRegex(out, "2001:db8:8::2/64 .*deprecated")
        for text in ("203.0.113.0/24", "2001:db8:7::/64"):
            self.assertNotIn(text, out)
        self.assertEqual(out.count("deprecated"), 1, out)
        # that one, and the kernel's, which answers at once
        self.assertEqual(re.findall(r"fe80::.*scope link +(.*?) *\\ +valid", out), ["flags 02"] * 2, out)

    def test_namespace_of_another_sandbox(self):
        """As "--net container:NAME" asks for: refused, and the other goes on."""
        self.serve()
        self.ok(*self.run_args("one", "sleep", "600", options=("-d", *self.options())))
        before = self.left()
        done = self.ctr(*self.run_args("two", "true", options=("--rm", *self.options())))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("another sandbox has this namespace", done.stderr)
        self.assertEqual(self.left(), before)
        self.assertEqual(self.ok("task", "exec", "--exec-id", "1", "one", "wget", "-q", "-O", "-",
                                 "http://198.51.100.1:8080/"), "hello\n")
        self.ok("task", "kill", "-s", "KILL", "one")
        self.wait_stopped("one")
        self.remove("one")

    def test_guest_without_ipv6(self):
        """The link-local address of the host's link is not missed."""
        ip("-n", POD, "-6", "route", "del", "default")
        ip("-n", POD, "-6", "addr", "del", "2001:db8:1::2/64", "dev", "eth0")
        out = self.run_ok("net", "sh", "-c", "ip -o addr; test -e /proc/net/if_inet6 || echo none", options=(
            *self.options(), "--annotation", "io.katacontainers.config.hypervisor.kernel_params=ipv6.disable=1"))
        self.assertIn("198.51.100.2/24", out)
        self.assertIn("none", out)

    def test_address_of_another(self):
        """That the host's kernel has found a duplicate: the guest does not ask again, and must not have it."""
        ip("-n", FAR, "addr", "add", "2001:db8:1::9/64", "dev", "eth0", "nodad")
        ip("-n", POD, "addr", "add", "2001:db8:1::9/64", "dev", "eth0")
        self.wait_until(lambda: "dadfailed" in ip("-n", POD, "-6", "addr", "show", "dev", "eth0"))
        out = self.inside("ip", "-o", "addr")
        self.assertIn("2001:db8:1::2/64", out)
        self.assertNotIn("2001:db8:1::9/64", out)

    def test_two_ways_to_one_place(self):
        """The guest takes the one that the host would."""
        self.add_link("net1", "203.0.113", "2001:db8:2:")
        ip("-n", POD, "route", "add", "default", "via", "203.0.113.1", "metric", "100")
        ip("-n", POD, "-6", "route", "add", "default", "via", "2001:db8:2::1", "metric", "2048")
        ip("-n", POD, "route", "add", "192.0.2.0/25", "via", "203.0.113.1", "metric", "7")
        ip("-n", POD, "route", "add", "192.0.2.0/25", "via", "198.51.100.1", "metric", "5")
        out = self.inside("sh", "-c", "ip route; ip -6 route")
        for words in ("default via 198.51.100.1 dev eth0", "default via 2001:db8:1::1 dev eth0",
                      "192.0.2.0/25 via 198.51.100.1 dev eth0"):
            self.assertIn(words, out)
        for other in ("via 203.0.113.1", "via 2001:db8:2::1"):
            self.assertNotIn(other, out)

    def test_outgoing(self):
        self.serve()
        out = self.inside("sh", "-c", "wget -q -O - http://198.51.100.1:8080/;"
                          "wget -q -O - 'http://[2001:db8:1::1]:8080/'")
        self.assertEqual(out, "hello\nhello\n")
        self.nothing_left()

    def test_incoming(self):
        self.detached("net", "sh", "-c", "echo from the guest > /index.html; httpd -f -p 80 -h /",
                      options=self.options())
        for url in ("http://198.51.100.2/index.html", "http://[2001:db8:1::2]/index.html"):
            self.fetch(url, "from the guest\n")
        self.remove("net")
        self.wait_until(lambda: not self.taps())
        self.nothing_left()

    def taps(self):
        return [row for row in json.loads(ip("-n", POD, "-j", "link"))
                if row["ifname"].startswith("tap")]

    def test_the_guest_has_what_the_link_has(self):
        self.add_link("net1", "203.0.113", "2001:db8:2:")
        ip("-n", POD, "route", "add", "192.0.2.0/25", "via", "203.0.113.1", "mtu", "1300")
        ip("-n", POD, "route", "add", "192.0.2.128/25", "dev", "net1", "src", "203.0.113.2")
        ip("-n", POD, "neigh", "add", "198.51.100.9", "lladdr", "02:00:00:00:00:09", "dev", "eth0",
           "nud", "permanent")
        out = self.inside("sh", "-c", "ip -o link; ip -o addr; ip route; ip -6 route; ip neigh")
        for row in json.loads(ip("-n", POD, "-j", "link")):
            if row["ifname"] in ("eth0", "net1"):
                self.assertRegex(out, rf"{row['ifname']}: <.*UP.*> mtu 1400 .*{row['address']}")
        for text in ("198.51.100.2/24", "2001:db8:1::2/64", "203.0.113.2/24", "2001:db8:2::2/64",
                     "default via 198.51.100.1 dev eth0", "default via 2001:db8:1::1 dev eth0",
                     "192.0.2.128/25 dev net1", "192.0.2.0/25 via 203.0.113.1 dev net1",
                     "198.51.100.9 dev eth0 lladdr 02:00:00:00:00:09"):
            self.assertIn(text, out.replace("  ", " "))
        self.assertIn(" PERMANENT", out)
        self.nothing_left()

    def test_after_the_engine_was_killed(self):
        self.detached("net", "sleep", "100", options=self.options())
        os.kill(self.engine_pid("net"), 9)
        self.wait_until(lambda: self.status("net") != "RUNNING" and not self.taps())
        self.ctr("task", "rm", "net")
        self.ok("container", "rm", "net")
        self.wait_until(lambda: self.left() == ([], False))  # containerd calls `delete` by then
        self.serve()
        self.assertEqual(self.inside("wget", "-q", "-O", "-", "http://198.51.100.1:8080/"), "hello\n")

    def test_loopback_alone(self):
        ip("-n", POD, "link", "del", "eth0")
        self.assertEqual(self.inside("ls", "/sys/class/net"), "lo\n")

    def test_link_that_is_no_ethernet_is_refused(self):
        ip("-n", POD, "tuntap", "add", "tun7", "mode", "tun")
        ip("-n", POD, "addr", "add", "192.0.2.1/32", "dev", "tun7")
        done = self.ctr(*self.run_args("net", "true", options=("--rm", *self.options())))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("tun7", done.stderr)
        self.assertIn("Ethernet", done.stderr)
        self.nothing_left()

    def test_what_the_guest_cannot_be_told_is_refused(self):
        def refused(*words):
            done = self.ctr(*self.run_args("net", "true", options=("--rm", *self.options())))
            self.assertNotEqual(done.returncode, 0)
            for word in words:
                self.assertIn(word, done.stderr)
            self.nothing_left()

        with self.subTest("a gateway of the other family"):
            ip("-n", POD, "route", "add", "203.0.113.0/24", "via", "inet6", "2001:db8:1::1")
            refused("route of 'eth0'", "via inet6")
            ip("-n", POD, "route", "del", "203.0.113.0/24")

    def test_links_with_one_hardware_address(self):
        """As ipvlans of one parent have: the guest is told by their places which is which."""
        mac = json.loads(ip("-n", POD, "-j", "link", "show", "eth0"))[0]["address"]
        for number, name in enumerate(("eth1", "eth2"), 1):
            self.add_link(name, f"203.0.{112 + number}", f"2001:db8:{1 + number}:")
            ip("-n", POD, "link", "set", name, "address", mac)
        self.serve()
        out = self.inside("sh", "-c", "for i in 0 1 2; do ip -o -4 addr show eth$i | tr -s ' ' | cut -d' ' -f2,4; done;"
                          "for a in 198.51.100.1 203.0.113.1 203.0.114.1; do wget -q -O - http://$a:8080/; done;"
                          "cat /sys/class/net/eth*/address | uniq | wc -l")
        self.assertEqual(out, "eth0 198.51.100.2/24\neth1 203.0.113.2/24\neth2 203.0.114.2/24\n"
                         "hello\nhello\nhello\n1\n")
        self.nothing_left()

    def test_routes_of_other_tables(self):
        """The guest has the main table, and the log says so."""
        ip("-n", POD, "route", "add", "default", "via", "198.51.100.1", "table", "100")
        start = len(self.daemon.log())
        self.assertEqual(self.inside("sh", "-c", "ip route show table 100 2>/dev/null"), "")
        self.assertIn("further tables of routes", self.daemon.log()[start:])

    def test_namespace_that_does_not_exist_is_named(self):
        done = self.ctr(*self.run_args("net", "true", options=(
            "--rm", "--with-ns", "network:/var/run/netns/nowhere")))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/var/run/netns/nowhere", done.stderr)


class FromHooks(EngineCase):
    """As nerdctl does it: the hook finds the namespace by the process in the state."""

    HOOK = ("pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/');"
            f"ip -n {FAR} link add hook0 type veth peer name eth0 netns $pid && "
            f"ip -n {FAR} addr add 198.51.100.1/24 dev hook0 && ip -n {FAR} link set hook0 up && "
            "nsenter -t $pid -n ip addr add 198.51.100.2/24 dev eth0 && "
            "nsenter -t $pid -n ip link set eth0 up && "
            "nsenter -t $pid -n ip route add default via 198.51.100.1")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        ip("netns", "add", FAR)
        cls.addClassCleanup(ip, "netns", "del", FAR)

    def start(self, hook, *command):
        self.write_spec(self.bundle, self.spec(*command, hooks={"createRuntime": [
            {"path": "/bin/sh", "args": ["sh", "-c", hook],
             "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "timeout": 20}]}))
        self.start_engine()
        self.out = os.path.join(self.bundle, "out")
        self.task("Create", {1: "x", 2: self.bundle, 5: "", 6: f"file://{self.out}",
                             7: f"file://{self.out}"})
        self.task("Start", {1: "x"})
        status = rpc.number(self.task("Wait", {1: "x"}), 1)
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})
        with open(self.out, encoding="utf-8") as f:
            return status, f.read()

    def test_link_of_a_hook(self):
        status, out = self.start(self.HOOK, "sh", "-c", "ip -o addr show dev eth0; ip route;"
                                 "ping -c 1 -W 5 198.51.100.1 >/dev/null && echo there")
        self.assertEqual(status, 0, out)
        for text in ("198.51.100.2/24", "default via 198.51.100.1", "there"):
            self.assertIn(text, out)

    def test_hook_without_links(self):
        status, out = self.start("true", "ls", "/sys/class/net")
        self.assertEqual((status, out), (0, "lo\n"))

class Later(EngineCase):
    """Docker from 26 on attaches its networks between Create and Start; others at any time."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        ip("netns", "add", FAR)
        cls.addClassCleanup(ip, "netns", "del", FAR)

    def create(self, *command, capabilities=()):
        spec = self.spec(*command)
        for kind in ("bounding", "effective", "permitted") if capabilities else ():
            spec["process"]["capabilities"][kind] = list(capabilities)
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.out = os.path.join(self.bundle, "out")
        pid = rpc.number(self.task("Create", {1: "x", 2: self.bundle, 5: "",
                                              6: f"file://{self.out}", 7: f"file://{self.out}"}), 1)
        self.netns = ("nsenter", f"--net=/proc/{pid}/ns/net", "ip")
        self.pid = str(pid)

    def inside(self, *words):
        subprocess.run([*self.netns, *words], check=True, timeout=10)

    def attach(self, name, number):
        far = f"{name}far"
        ip("-n", FAR, "link", "add", far, "type", "veth", "peer", "name", name, "netns", self.pid)
        ip("-n", FAR, "addr", "add", f"198.51.{number}.1/24", "dev", far)
        ip("-n", FAR, "link", "set", far, "up")
        self.inside("addr", "add", f"198.51.{number}.2/24", "dev", name)
        self.inside("link", "set", name, "up")

    def end(self, kill=False):
        if kill:
            self.task("Kill", {1: "x", 3: 9})
        status = rpc.number(self.task("Wait", {1: "x"}, timeout=60), 1)
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})
        return status, self.said()

    def said(self):
        with open(self.out, encoding="utf-8") as f:
            return f.read()

    def log(self):
        with open(os.path.join(self.bundle, "shim.log"), encoding="utf-8") as f:
            return f.read()

    def wait_for(self, text):
        end = time.monotonic() + 30 * SLOWNESS
        while text not in self.said():
            self.assertLess(time.monotonic(), end, f"no {text!r} in {self.said()!r}")
            time.sleep(0.1)

    def test_guest_that_refuses_for_a_while(self):
        """A busy one may; it is told again, though nothing else changes."""
        config = os.path.join(self.root, "refuses.toml")
        with open(config, "w", encoding="ascii") as f:
            f.write(f"[hypervisor.qemu]\ninitrd = '{hostile_initrd.write_to(self.root)}'\n"
                    "kernel_params = 'hostile=busy@UpdateInterface'\n")
        os.environ["KATA_CONF_FILE"] = config
        self.addCleanup(os.environ.pop, "KATA_CONF_FILE")
        self.create("true")
        self.task("Start", {1: "x"})
        self.attach("busy0", 77)
        end = time.monotonic() + 60 * SLOWNESS
        while "what was late is done" not in self.log():
            self.assertLess(time.monotonic(), end, self.log())
            time.sleep(0.2)
        self.assertIn("UpdateInterface", self.log())
        self.task("Shutdown", {1: "x", 3: True})

    def test_between_create_and_start(self):
        self.create("sh", "-c", "ip -o addr show dev eth0; ip route;"
                    "ping -c 1 -W 5 198.51.100.1 >/dev/null && echo there")
        self.attach("eth0", 100)
        self.inside("route", "add", "default", "via", "198.51.100.1")
        self.task("Start", {1: "x"})
        status, out = self.end()
        self.assertEqual(status, 0, out)
        for text in ("198.51.100.2/24", "default via 198.51.100.1", "there"):
            self.assertIn(text, out)

    def figures(self, link):
        """(rx bytes, rx packets, tx bytes, tx packets) in the answer of Stats; None without the link."""
        data = rpc.inner(self.task("Stats", {1: "x"}), 1)
        metrics = rpc.inner(data, 2)
        number = 7 if rpc.text(data, 1) == "io.containerd.cgroups.v1.Metrics" else 9
        for raw in metrics.get(number, []):
            row = rpc.decode(raw)
            if rpc.text(row, 1) == link:
                return tuple(rpc.number(row, i) for i in (2, 3, 6, 7))
        return None

    def wait_for_figures(self, least):
        end = time.monotonic() + 30 * SLOWNESS
        while not (got := self.figures("eth0")) or any(have < want for have, want in zip(got, least)):
            self.assertLess(time.monotonic(), end, (got, least))
            time.sleep(0.2)
        return got

    def test_figures(self):
        """What goes over a link grows in Stats, on the side that it goes."""
        self.create("sh", "-c", "until ip addr show dev eth0 2>/dev/null | grep -q 198.51; do sleep 0.1; done;"
                    "ping -c 3 -s 1300 198.51.100.1; sleep 1000")
        self.task("Start", {1: "x"})
        self.assertIsNone(self.figures("eth0"))
        self.attach("eth0", 100)
        both = self.wait_for_figures((3 * 1300, 3, 3 * 1300, 3))
        subprocess.run(["ip", "netns", "exec", FAR, "python3", "-c", DATAGRAMS], check=True, timeout=30)
        more = self.wait_for_figures((both[0] + 100 * 1000, both[1] + 100, both[2], both[3]))
        self.assertLess(more[2] - both[2], 50 * 1000)
        self.end(kill=True)

    def test_while_it_runs(self):
        self.create("sh", "-c", "while :; do ip -o addr; ip route; echo; sleep 0.3; done")
        self.task("Start", {1: "x"})
        self.attach("eth0", 100)
        self.attach("eth1", 101)
        self.wait_for("198.51.100.2/24")
        self.wait_for("198.51.101.2/24")
        # what changes on a link that is there follows, too
        self.inside("addr", "add", "198.51.100.77/32", "dev", "eth0")
        self.inside("route", "add", "192.0.2.0/25", "via", "198.51.101.1")
        self.wait_for("198.51.100.77/32")
        self.wait_for("192.0.2.0/25 via 198.51.101.1")
        ip("-n", FAR, "link", "del", "eth1far")
        os.truncate(self.out, 0)
        self.gone("198.51.101.2")
        self.attach("again", 102)
        self.wait_for("198.51.102.2/24")
        self.end(kill=True)

    ADMIN = ("CAP_CHOWN", "CAP_NET_RAW", "CAP_NET_ADMIN")

    def test_address_within_its_subnet(self):
        """The new one is there before the old one goes, and does not go with it."""
        self.create("sh", "-c", "while :; do ip -o addr; ip route; echo; sleep 0.3; done")
        self.task("Start", {1: "x"})
        self.attach("eth0", 100)
        self.wait_for("198.51.100.2/24")
        subprocess.run([*self.netns, "-batch", "-"], check=True, timeout=10, text=True,
                       input="addr del 198.51.100.2/24 dev eth0\naddr add 198.51.100.3/24 dev eth0\n"
                       "route add default via 198.51.100.1\n")
        self.gone("198.51.100.2/24")
        os.truncate(self.out, 0)
        self.wait_for("198.51.100.3/24")
        self.wait_for("default via 198.51.100.1")
        self.assertNotIn("unreachable", self.log())
        self.end(kill=True)

    def test_what_the_workload_has_made(self):
        """Addresses and routes of its own, as of a VPN, stay whatever the caller changes."""
        self.create("sh", "-c", "until ip addr show dev eth0 2>/dev/null | grep -q 198.51; do sleep 0.1; done;"
                    "ip addr add 198.51.100.77/24 dev eth0;"
                    "ip addr add 203.0.113.7/32 dev eth0; ip route add 203.0.113.128/25 dev eth0;"
                    "while :; do ip -o addr; ip route; echo; sleep 0.3; done", capabilities=self.ADMIN)
        self.task("Start", {1: "x"})
        self.attach("eth0", 100)
        self.wait_for("203.0.113.128/25")
        self.attach("eth1", 101)
        self.inside("route", "add", "192.0.2.0/25", "via", "198.51.101.1")
        self.wait_for("192.0.2.0/25 via 198.51.101.1")
        os.truncate(self.out, 0)
        self.wait_for("192.0.2.0/25 via 198.51.101.1")
        for words in ("203.0.113.7/32", "203.0.113.128/25", "198.51.100.77/24"):
            self.wait_for(words)
        self.end(kill=True)

    def test_another_mtu_and_hardware_address(self):
        """Both follow, a larger MTU too, and neither is in the way of a container that is started later."""
        self.create("sh", "-c", "while :; do ip -o link; echo; sleep 0.3; done")
        self.attach("eth0", 100)
        self.assertTrue(wait_until(lambda: "'eth0' plugged in" in self.log(), 30))
        ip("-n", FAR, "link", "set", "eth0far", "mtu", "9000")
        self.inside("link", "set", "eth0", "mtu", "9000")
        self.task("Start", {1: "x"})
        self.wait_for("mtu 9000")
        for mac in ("02:00:00:00:00:77", "02:00:00:00:00:78"):
            self.inside("link", "set", "eth0", "address", mac)
            self.wait_for(mac)
            ip("-n", FAR, "neigh", "flush", "dev", "eth0far")
            ip("netns", "exec", FAR, "/bin/busybox", "ping", "-c", "1", "-W", "5", "-s", "8900", "198.51.100.2")
        self.assertNotIn("not all of its change", self.log())
        self.end(kill=True)

    def test_what_the_guest_cannot_have(self):
        """A link that the workload has changed itself is not found: a line in the log, and the others follow."""
        self.create("sh", "-c", "until ip addr show dev eth0 2>/dev/null | grep -q 198.51; do sleep 0.1; done;"
                    "ip link set eth0 address 02:00:00:00:00:99;"
                    "while :; do ip -o link; ip -o addr; ip route; echo; sleep 0.3; done", capabilities=self.ADMIN)
        self.attach("eth0", 100)
        self.task("Start", {1: "x"})
        self.wait_for("02:00:00:00:00:99")
        self.attach("eth1", 101)
        self.wait_for("198.51.101.2/24")
        self.inside("addr", "add", "198.51.101.77/32", "dev", "eth1")
        self.inside("route", "add", "default", "via", "198.51.101.1")
        self.wait_for("198.51.101.77/32")
        self.wait_for("default via 198.51.101.1")
        self.assertIn("guest network 'eth0': not all of its change", self.log())
        self.end(kill=True)

    def test_what_no_guest_can_have(self):
        """It is said once, the others follow, and whoever starts a container while it is there is told."""
        self.create("sh", "-c", "while :; do ip -o addr; ip route; echo; sleep 0.3; done")
        self.attach("eth0", 100)
        self.task("Start", {1: "x"})
        self.inside("tuntap", "add", "tun7", "mode", "tun")
        self.inside("addr", "add", "192.0.2.1/32", "dev", "tun7")
        self.inside("route", "add", "203.0.113.0/24", "nexthop", "via", "198.51.100.7", "nexthop", "via", "198.51.100.8")
        self.attach("eth1", 101)
        self.wait_for("198.51.101.2/24")
        self.inside("route", "add", "203.0.114.0/24", "via", "198.51.101.1")
        self.wait_for("203.0.114.0/24 via 198.51.101.1")
        self.assertEqual(self.log().count("'tun7' (ARPHRD 65534) carries no Ethernet"), 1, self.log())
        self.inside("link", "del", "tun7")
        self.assertTrue(wait_until(lambda: "route to 203.0.113.0/24 has several next hops" in self.log(), 30), self.log())
        self.end(kill=True)

    def test_no_start_without_a_link(self):
        self.create("true")
        self.attach("eth0", 100)
        self.inside("tuntap", "add", "tun7", "mode", "tun")
        self.inside("addr", "add", "192.0.2.1/32", "dev", "tun7")
        self.assertTrue(wait_until(lambda: "tun7" in self.log(), 30))
        self.refused(UNSUPPORTED, "Start", {1: "x"}, "tun7", "Ethernet")
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})

    def test_ipv6_switched_off(self):
        """As Docker does it, between Create and Start; and on again."""
        self.create("sh", "-c", "while :; do cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip -o addr; echo; sleep 0.3; done")
        self.attach("eth0", 100)
        self.assertTrue(wait_until(lambda: "'eth0' plugged in" in self.log(), 30))
        off = [*self.netns[:-1], "sh", "-c", "echo $0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6"]
        subprocess.run([*off, "1"], check=True, timeout=10)
        self.task("Start", {1: "x"})
        self.wait_for("198.51.100.2/24")
        self.assertEqual(self.said()[:2], "1\n")
        self.assertNotIn("fe80", self.said())
        subprocess.run([*off, "0"], check=True, timeout=10)
        self.wait_for("fe80")
        self.end(kill=True)

    def test_neighbours(self):
        """Permanent ones follow, beside the workload's; of the others, which traffic makes, nobody is told."""
        self.create("sh", "-c", "until arp -s 198.51.100.7 02:00:00:00:00:07 2>/dev/null; do sleep 0.1; done; while :; do ip -o addr; ip neigh; echo; sleep 0.3; done",
                    capabilities=self.ADMIN)
        self.task("Start", {1: "x"})
        self.attach("eth0", 100)
        self.wait_for("02:00:00:00:00:07")
        self.inside("neigh", "add", "198.51.100.9", "lladdr", "02:00:00:00:00:09", "dev", "eth0", "nud", "permanent")
        self.inside("neigh", "add", "198.51.100.7", "lladdr", "02:00:00:00:00:17", "dev", "eth0", "nud", "permanent")
        self.wait_for("02:00:00:00:00:09")
        self.inside("neigh", "add", "198.51.100.8", "lladdr", "02:00:00:00:00:08", "dev", "eth0", "nud", "reachable")
        self.inside("neigh", "change", "198.51.100.9", "lladdr", "02:00:00:00:00:19", "dev", "eth0", "nud", "permanent")
        self.wait_for("02:00:00:00:00:19")
        self.inside("neigh", "del", "198.51.100.9", "dev", "eth0")
        os.truncate(self.out, 0)
        self.gone("198.51.100.9")
        self.assertNotIn("198.51.100.8", self.said())
        self.wait_for("198.51.100.7 dev eth0 lladdr 02:00:00:00:00:07")
        self.assertNotIn("02:00:00:00:00:17", self.said())
        self.end(kill=True)

    def gone(self, text):
        """Whole rounds of output without it follow at last."""
        end = time.monotonic() + 30 * SLOWNESS
        while True:
            rounds = self.said().split("\n\n")[1:-1][-3:]
            if len(rounds) == 3 and all(rounds) and not any(text in each for each in rounds):
                return
            self.assertLess(time.monotonic(), end, self.said()[-2000:])
            time.sleep(0.2)

    def test_one_that_there_is_no_place_for(self):
        """It is tried once, what the others get follows as before, and it comes when there is a place."""
        self.create("sh", "-c", "while :; do ip -o addr; echo; sleep 0.3; done")
        self.task("Start", {1: "x"})
        for number in range(5):
            self.attach(f"eth{number}", 100 + number)
        self.wait_for("198.51.103.2/24")
        self.inside("addr", "add", "198.51.100.77/32", "dev", "eth0")
        self.wait_for("198.51.100.77/32")
        self.assertTrue(wait_until(lambda: "'eth4'" in self.log(), 30))
        time.sleep(1)
        watch = subprocess.run(["timeout", "2", *self.netns, "monitor", "link"], capture_output=True, text=True,
                               timeout=10, check=False)
        self.assertEqual((watch.returncode, watch.stdout), (124, ""), self.log())
        self.assertNotIn("198.51.104.2", self.said())
        ip("-n", FAR, "link", "del", "eth1far")
        self.wait_for("198.51.104.2/24")
        self.end(kill=True)

    def test_more_than_the_machine_has_places_for(self):
        self.create("true")
        for number in range(5):
            self.attach(f"eth{number}", 100 + number)
        self.refused(STATE, "Start", {1: "x"}, "eth", "places")
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
