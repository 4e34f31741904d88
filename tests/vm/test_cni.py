# SPDX-License-Identifier: Apache-2.0
"""Pods on the networks of the CNI's own plug-ins (bridge, portmap, ipvlan, macvlan, ptp).

"The host" is a network namespace made for this file: bridges, addresses and rules are all there.
"""
import json
import os
import shutil
import subprocess
import sys
import time
import unittest
import urllib.request

OWN = "KATA_TEST_OWN_NETWORK"
if os.geteuid() == 0 and OWN not in os.environ:
    os.environ[OWN] = "1"
    os.execvp("unshare", ["unshare", "--net", "--", *sys.orig_argv])

import grpc_client as rpc  # noqa: E402
from cri_case import CriCase  # noqa: E402

LAB = "full"
TIMEOUT_S = 600
PLUGINS = "/usr/lib/cni"
HTTPD = ("sh", "-c", "echo hello >/index.html; httpd -f -p 80 -h /")


def ip(*args):
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True,
                          timeout=20).stdout


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def kernel_has(kind):
    """Links of this kind exist here; nothing of the attempt stays."""
    words = {"ipvlan": ("mode", "l2"), "macvlan": ("mode", "bridge"), "vlan": ("id", "9")}
    if kind not in words:
        return True
    done = subprocess.run(["ip", "link", "add", "try0", "link", "up0", "type", kind, *words[kind]],
                          capture_output=True, check=False, timeout=20)
    if done.returncode == 0:
        ip("link", "del", "try0")
    return done.returncode == 0


class Cni(CriCase):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(os.path.join(PLUGINS, "bridge")):
            raise unittest.SkipTest(f"no CNI plug-ins in {PLUGINS}")
        super().setUpClass()

    @staticmethod
    def prepare_network():
        """What the namespace has besides."""
        if "up0" not in ip("link"):
            ip("link", "set", "lo", "up")
            ip("link", "add", "up0", "type", "veth", "peer", "name", "wire")
            ip("addr", "add", "192.0.2.1/24", "dev", "up0")
            for link in ("up0", "wire"):
                ip("link", "set", link, "up")
        with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as f:
            f.write("1")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.prepare_network()
        os.unlink(os.path.join(cls.root, "cni/10-none.conflist"))
        shutil.rmtree(os.path.join(cls.root, "cni-bin"))
        shutil.copytree(PLUGINS, os.path.join(cls.root, "cni-bin"))
        cls.use(cls.network())

    @classmethod
    def use(cls, plugin):
        with open(os.path.join(cls.root, "cni/10-test.conflist"), "w", encoding="ascii") as f:
            json.dump({"cniVersion": "0.4.0", "name": "test", "plugins": [
                {**plugin, "ipam": {"type": "host-local", "dataDir": f"{cls.root}/ipam", "ranges": [
                    [{"subnet": "198.51.100.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
                {"type": "portmap", "capabilities": {"portMappings": True}}]}, f)

    def pod_config(self, name, ports=(), **kw):
        return {**super().pod_config(name, **kw), 5: [
            {1: 0, 2: inside, 3: outside} for inside, outside in ports]}

    def address(self, pod):
        status = rpc.inner(self.cri("PodSandboxStatus", {1: pod[0]}), 1)
        return rpc.text(rpc.inner(status, 5), 1)

    def fetch(self, url):
        """The web server of a container that has just been started."""
        end = time.monotonic() + 20
        while True:
            try:
                return get(url)
            except OSError as error:
                self.assertLess(time.monotonic(), end, f"{url}: {error}")
                time.sleep(0.2)

    def nothing_of_pods_left(self):
        names = [link["ifname"] for link in json.loads(ip("-j", "link"))]
        self.assertFalse([n for n in names if n.startswith(("veth", "tap"))], names)


class Bridge(Cni):
    @classmethod
    def network(cls):
        return {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True}

    def test_address_and_published_port(self):
        pod = self.run_pod("web", ports=[(80, 8080)])
        self.start(pod, "c", *HTTPD)
        self.assertEqual(self.fetch(f"http://{self.address(pod)}/index.html"), "hello\n")
        self.assertEqual(self.fetch("http://192.0.2.1:8080/index.html"), "hello\n")
        self.remove_pod(pod)
        self.nothing_of_pods_left()
        with self.assertRaises(OSError):
            get("http://192.0.2.1:8080/index.html")

    def test_pods_reach_each_other_and_the_host(self):
        web, other = self.run_pod("web"), self.run_pod("other")
        self.start(web, "c", *HTTPD)
        c = self.start(other, "c")
        url = f"http://{self.address(web)}/index.html"
        self.fetch(url)
        self.assertEqual(self.output(c, "sh", "-c", f"ping -c 1 -W 5 {self.address(web)} >/dev/null"
                                     f" && nc {self.address(web)} 80 </dev/null; echo $?"), "0\n")
        self.assertEqual(self.output(c, "sh", "-c", "ping -c 1 -W 5 192.0.2.1 >/dev/null; echo $?"),
                         "0\n")
        for pod in (web, other):
            self.remove_pod(pod)
        self.nothing_of_pods_left()


class OtherLinks(Cni):
    @classmethod
    def network(cls):
        return {"type": "ptp", "ipMasq": False}

    def test_kinds(self):
        """By what a link can do, not by a list of names."""
        for plugin in ({"type": "ptp"}, {"type": "ipvlan", "master": "up0", "mode": "l2"},
                       {"type": "macvlan", "master": "up0", "mode": "bridge"},
                       {"type": "vlan", "master": "up0", "vlanId": 7}):
            with self.subTest(kind=plugin["type"]):
                if not kernel_has(plugin["type"]):
                    self.skipTest(f"this kernel has no {plugin['type']}")
                self.use(plugin)
                self.wait_until(lambda: plugin["type"] in self.daemon_network())
                pod = self.run_pod(plugin["type"])
                c = self.start(pod, "c")
                out = self.output(c, "ip", "-o", "addr", "show", "dev", "eth0")
                self.assertIn(f" {self.address(pod)}/24 ", out)
                self.assertIn("default", self.output(c, "ip", "route"))
                self.remove_pod(pod)
                self.nothing_of_pods_left()

    def daemon_network(self):
        """The configuration that containerd has loaded by now is in its verbose status."""
        return str(self.cri("Status", {1: 1}))


if __name__ == "__main__":
    unittest.main(verbosity=2)
