# SPDX-License-Identifier: Apache-2.0
"""nerdctl and crictl, where they are on the PATH: no distribution has a package of them.

"The host" is a network namespace made for this file, as in test_cni.py, whose plug-ins they need.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import unittest

import test_cni  # first: it makes the namespace
from containerd_case import RUNTIME, ContainerdCase
from cri_case import NAMESPACE, CriCase
from kata_case import LIMIT

KERNEL = "any"
LAB = "full"
TIMEOUT_S = 900
IMAGE = "busybox"
PRIVATE = {"namespace_options": {"pid": 1}}  # CONTAINER: as kubelet has it by default


def program(name):
    """A decorator: skips a class whose client is missing, by name."""
    return unittest.skipUnless(shutil.which(name), f"not on the PATH: {name}")


@program("nerdctl")
class Nerdctl(ContainerdCase):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(os.path.join(test_cni.PLUGINS, "bridge")):
            raise unittest.SkipTest(f"no CNI plug-ins in {test_cni.PLUGINS}")
        super().setUpClass()

    @classmethod
    def prepare(cls):
        test_cni.Cni.prepare_network()

    @classmethod
    def argv(cls, *args):
        return ["nerdctl", "--address", cls.daemon.socket, "--data-root", f"{cls.root}/nerdctl",
                "--cni-path", test_cni.PLUGINS, "--cni-netconfpath", f"{cls.root}/cni.d", "--cgroup-manager", "cgroupfs",
                *args]

    def call(self, *args, code=0, **kw):
        done = subprocess.run(self.argv(*args), capture_output=True, text=True, timeout=LIMIT, check=False,
                              stdin=subprocess.DEVNULL, env=self.daemon.env, **kw)
        self.assertEqual(done.returncode, code, f"{args}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, name, *command, options=()):
        self.addCleanup(subprocess.run, self.argv("rm", "-f", name), capture_output=True, env=self.daemon.env,
                        check=False, timeout=LIMIT)
        return self.call("run", "-d", "--runtime", RUNTIME, "--name", name, *options, IMAGE,
                         *(command or ("sleep", "1000"))).strip()

    def once(self, *command, options=(), code=0):
        return self.call("run", "--rm", "--runtime", RUNTIME, *options, IMAGE, *command, code=code)

    def until(self, function, want):
        end = time.monotonic() + 30
        while (got := function()) != want:
            self.assertLess(time.monotonic(), end, got)
            time.sleep(0.2)

    def fetched(self, url):
        with contextlib.suppress(OSError):
            return test_cni.get(url)
        return None

    def test_run(self):
        self.assertEqual(self.once("echo", "hello"), "hello\n")
        self.once("sh", "-c", "exit 7", code=7)
        path = os.path.join(self.root, "volume")
        os.makedirs(path, exist_ok=True)
        self.once("sh", "-c", "echo inside >/v/file", options=("-v", f"{path}:/v"))
        with open(os.path.join(path, "file"), encoding="ascii") as f:
            self.assertEqual(f.read(), "inside\n")
        self.once("touch", "/v/other", options=("-v", f"{path}:/v:ro"), code=1)

    def test_life(self):
        """run -d, exec, logs, stats, stop."""
        self.start("life", "sh", "-c", "echo out; trap 'exit 3' TERM; while :; do sleep 0.1; done")
        self.until(lambda: self.call("logs", "life"), "out\n")
        self.assertEqual(self.call("exec", "life", "cat", "/proc/1/comm"), "sh\n")
        figures = json.loads(self.call("stats", "--no-stream", "--format", "json", "life").split("\n")[0])
        self.assertNotIn(figures["MemUsage"].split("/")[0].strip(), ("", "--", "0B"))
        self.call("stop", "-t", "10", "life")
        state = json.loads(self.call("inspect", "life"))[0]["State"]
        self.assertEqual((state["Status"], state["ExitCode"]), ("exited", 3))
        self.call("rm", "life")

    def test_copy(self):
        """Both ways, of the container's own files and its volume's; a link leads within the container."""
        path = os.path.join(self.root, "copied")
        os.makedirs(path)
        self.addCleanup(shutil.rmtree, path)
        with open(os.path.join(path, "name"), "w", encoding="ascii") as f:
            f.write("host\n")
        self.start("copy", options=("-v", f"{path}:/v"))
        self.call("exec", "copy", "sh", "-c", "mkdir -p /made/below; echo made >/made/below/file; ln -s / /root-link")
        self.call("cp", f"{path}/name", "copy:/copied")
        self.assertEqual(self.call("exec", "copy", "cat", "/copied"), "host\n")
        self.call("cp", "copy:/made", f"{path}/")
        self.call("cp", "copy:/root-link/made/below/file", f"{path}/through-link")
        self.call("cp", "copy:/copied", "copy-none:/v/x", code=1)
        self.call("cp", f"{path}/name", "copy:/v/new")
        self.assertEqual({name: self.text(path, name) for name in ("made/below/file", "through-link", "new")},
                         {"made/below/file": "made\n", "through-link": "made\n", "new": "host\n"})
        self.assertRegex(self.call("top", "copy"), r"\A.* CMD\n[^\n]*kata-stand-in\n+\Z")
        self.call("rm", "-f", "copy")

    @staticmethod
    def text(*path):
        with open(os.path.join(*path), encoding="ascii") as f:
            return f.read()

    def test_published_port(self):
        self.start("web", "sh", "-c", "echo hello >/index.html; httpd -f -p 80 -h /", options=("-p", "8080:80"))
        self.until(lambda: self.fetched("http://192.0.2.1:8080/index.html"), "hello\n")
        self.call("rm", "-f", "web")
        self.assertIsNone(self.fetched("http://192.0.2.1:8080/index.html"))

    def test_two_networks(self):
        for name, subnet in (("one", "198.51.101.0/24"), ("two", "198.51.102.0/24")):
            self.call("network", "create", "--subnet", subnet, name)
            self.addCleanup(subprocess.run, self.argv("network", "rm", name), env=self.daemon.env,
                            capture_output=True, check=False, timeout=LIMIT)
        self.start("both", options=("--network", "one", "--network", "two"))
        out = self.call("exec", "both", "ip", "-o", "-4", "addr")
        self.assertIn("198.51.101.", out)
        self.assertIn("198.51.102.", out)
        self.call("rm", "-f", "both")

    def test_links_upon_a_link(self):
        """Two containers, each with a link of its own upon the host's, reach each other."""
        for kind in ("macvlan", "ipvlan"):
            with self.subTest(kind=kind):
                if not test_cni.kernel_has(kind):
                    self.skipTest(f"this kernel has no {kind}")
                self.call("network", "create", "--driver", kind, "--subnet", "198.51.103.0/24", "--opt", "parent=up0",
                          kind)
                self.addCleanup(subprocess.run, self.argv("network", "rm", kind), env=self.daemon.env,
                                capture_output=True, check=False, timeout=LIMIT)
                for name, address in (("near", "198.51.103.7"), ("far", "198.51.103.8")):
                    self.start(name, options=("--network", kind, "--ip", address))
                self.assertIn(" 0% packet loss", self.call("exec", "near", "ping", "-c", "2", "-W", "5", "198.51.103.8"))
                self.call("rm", "-f", "near", "far")
                self.call("network", "rm", kind)

    def test_compose(self):
        path = os.path.join(self.root, "compose.yaml")
        with open(path, "w", encoding="ascii") as f:
            json.dump({"services": {name: {"image": IMAGE, "runtime": RUNTIME, "command": command}
                                    for name, command in (("web", ["sh", "-c", "echo hello >/index.html; "
                                                                   "httpd -f -p 80 -h /"]),
                                                          ("client", ["sleep", "1000"]))}}, f)
        self.addCleanup(subprocess.run, self.argv("compose", "-f", path, "-p", "kt", "down"), env=self.daemon.env,
                        capture_output=True, check=False, timeout=LIMIT)
        self.call("compose", "-f", path, "-p", "kt", "up", "-d")
        fetch = ("compose", "-f", path, "-p", "kt", "exec", "-T", "client", "sh", "-c",
                 "until wget -q -O - http://web/index.html; do sleep 0.2; done")
        self.assertEqual(self.call(*fetch), "hello\n")
        self.call("compose", "-f", path, "-p", "kt", "down")


@program("crictl")
class Crictl(CriCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        test_cni.Cni.prepare_network()
        loopback = os.path.join(test_cni.PLUGINS, "loopback")
        if os.path.exists(loopback):  # which brings the link up, for what is forwarded
            shutil.copy(loopback, os.path.join(cls.root, "cni-bin/loopback"))

    def call(self, *args, code=0, stdin=None, timeout=LIMIT):
        done = subprocess.run(["crictl", "--runtime-endpoint", "unix://" + self.daemon.socket, "--image-endpoint",
                               "unix://" + self.daemon.socket, "--timeout", "120s", *args], input=stdin, text=True,
                              stdin=None if stdin is not None else subprocess.DEVNULL, capture_output=True,
                              timeout=timeout, check=False)
        self.assertEqual(done.returncode == 0, code == 0, f"{args}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def file(self, name, content):
        path = os.path.join(self.root, name)
        with open(path, "w", encoding="ascii") as f:
            json.dump(content, f)
        return path

    def pod(self):
        self.pod_file = self.file("pod.json", {
            "metadata": {"name": "p", "namespace": "default", "uid": "u", "attempt": 1},
            "log_directory": os.path.join(self.root, "logs"), "linux": {"security_context": PRIVATE}})
        ident = self.call("runp", "--runtime", "kata", self.pod_file)
        self.pods.append(ident)
        return ident

    def container(self, pod, name, *command):
        path = self.file(name + ".json", {
            "metadata": {"name": name}, "image": {"image": "docker.io/library/busybox:latest"},
            "command": list(command), "log_path": name + ".log", "stdin": True,
            "linux": {"security_context": PRIVATE}})
        ident = self.call("create", "--no-pull", pod, path, self.pod_file)
        self.call("start", ident)
        return ident

    def test_pod(self):
        """Two containers in it: exec, attach, logs, stats, update."""
        pod = self.pod()
        one = self.container(pod, "one", "sh", "-c", "echo out; while read line; do echo got $line; done")
        two = self.container(pod, "two", "sleep", "1000")
        self.assertEqual(self.call("exec", two, "cat", "/proc/1/comm"), "sleep")
        self.assertEqual(self.call("exec", "--sync", two, "hostname"), self.call("exec", "--sync", one, "hostname"))
        self.call("exec", "--sync", two, "sh", "-c", "exit 7", code=1)
        self.assertEqual(self.call("exec", "-i", two, "cat", stdin="through\n"), "through")
        with subprocess.Popen(["crictl", "--runtime-endpoint", "unix://" + self.daemon.socket, "attach", "-i", one],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
            timer = threading.Timer(30, p.kill)
            timer.start()
            p.stdin.write("word\n")
            p.stdin.flush()
            self.assertEqual(p.stdout.readline(), "got word\n")
            p.send_signal(signal.SIGKILL)
            timer.cancel()
        self.assertIn("out", self.call("logs", one))
        self.call("update", "--memory", str(96 << 20), two)
        self.assertEqual(self.call("exec", "--sync", two, "cat", "/sys/fs/cgroup/memory.max"), str(96 << 20))
        rows = json.loads(self.call("stats", "-o", "json"))["stats"]
        self.assertEqual({row["attributes"]["id"] for row in rows}, {one, two})
        self.assertTrue(all(int(row["memory"]["workingSetBytes"]["value"]) > 0 for row in rows))
        self.assertEqual(len(json.loads(self.call("ps", "-o", "json"))["containers"]), 2)
        self.remove(pod)

    def test_port_forward(self):
        if not os.path.exists(test_cni.PLUGINS):
            self.skipTest(f"no CNI plug-ins in {test_cni.PLUGINS}")
        pod = self.pod()
        self.container(pod, "web", "sh", "-c", "echo hello >/index.html; httpd -f -p 127.0.0.1:8080 -h /")
        with subprocess.Popen(["crictl", "--runtime-endpoint", "unix://" + self.daemon.socket, "port-forward", pod,
                               "18080:8080"], stdout=subprocess.DEVNULL) as p:
            self.addCleanup(p.kill)
            end = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError):
                    self.assertEqual(test_cni.get("http://127.0.0.1:18080/index.html"), "hello\n")
                    break
                self.assertLess(time.monotonic(), end)
                time.sleep(0.2)
            p.kill()
        self.remove(pod)

    def remove(self, pod):
        self.call("stopp", pod)
        self.call("rmp", pod)
        self.pods.remove(pod)
        self.assertNotIn(pod, self.ok("task", "ls", namespace=NAMESPACE))


if __name__ == "__main__":
    unittest.main(verbosity=2)
