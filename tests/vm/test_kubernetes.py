# SPDX-License-Identifier: Apache-2.0
"""A node of Kubernetes: etcd, kube-apiserver, kubelet and kubectl, where they are on the PATH.

No distribution has a package of them all. "The host" is a network namespace made for this file, as
in test_cni.py, whose bridge the pods are on.
"""
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest
import urllib.request

import test_cni  # first: it makes the namespace
from cri_case import NAMESPACE, CriCase
from kata_case import LIMIT, SLOWNESS

LAB = "full"
TIMEOUT_S = 1800
PROGRAMS = ("etcd", "kube-apiserver", "kubelet", "kubectl")
NODE = "node"
ADDRESS = "192.0.2.1"
SERVER = "https://127.0.0.1:6443"
IMAGE = "docker.io/library/busybox:latest"
READY = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
UP_S = 120

CGROUP = "/kata-test-node"
# what kubelet has its host set to, shown to it: the host is to stay as it is
KERNEL = {"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
          "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000"}
# and where it writes, whatever its root is
FOLDERS = ("/var/lib/kubelet", "/var/log/containers", "/usr/libexec/kubernetes")

KUBELET = {
    "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"}, "cgroupDriver": "cgroupfs", "failSwapOn": False,
    "address": ADDRESS, "syncFrequency": "1s", "evictionHard": {"memory.available": "1Mi"},
    "protectKernelDefaults": True, "cgroupRoot": CGROUP, "imageGCHighThresholdPercent": 100, "localStorageCapacityIsolation": False, "serializeImagePulls": False,
    "nodeStatusUpdateFrequency": "1s", "enforceNodeAllocatable": ["pods"], "allowedUnsafeSysctls": ["net.core.somaxconn"],
    "featureGates": {"InPlacePodVerticalScaling": True},
}


def missing():
    return [name for name in PROGRAMS if not shutil.which(name)]


def cgroup_folders():
    """Of the node, one in each hierarchy."""
    unified = "/sys/fs/cgroup/cgroup.controllers"
    return ["/sys/fs/cgroup" + CGROUP] if os.path.exists(unified) else [
        path.rstrip("/") + CGROUP for path in glob.glob("/sys/fs/cgroup/*/")]


def remove_cgroups():
    for top in cgroup_folders():
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


class Services:
    """Programs in the background, each with a log; ended in reverse."""

    def __init__(self, root):
        self.root = root
        self.running = []

    def start(self, *argv):
        with open(self.log_path(argv[0]), "ab") as log:
            self.running.append((argv[0], subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                           start_new_session=True)))

    def restart(self):
        """The last one, at once."""
        _, process = self.running.pop()
        process.kill()
        process.wait(20)
        self.start(*process.args)

    def log_path(self, name):
        return os.path.join(self.root, name + ".log")

    def ended(self):
        return [name for name, process in self.running if process.poll() is not None]

    def tails(self):
        out = []
        for name, process in self.running:
            with open(self.log_path(name), encoding="utf-8", errors="replace") as f:
                out.append(f"{name} ({process.poll()}): " + "\n".join(line[:300] for line in f.readlines()[-12:]))
        return "\n".join(out)

    def stop(self):
        while self.running:
            _, process = self.running.pop()
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait(20)


class Kubernetes(CriCase):
    """One node; each test has pods of its own."""

    configuration = CriCase.configuration + "[runtime]\nstatic_sandbox_resource_mgmt = false\n"

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.shield_host()
        test_cni.Cni.prepare_network()
        os.unlink(os.path.join(cls.root, "cni/10-none.conflist"))
        shutil.rmtree(os.path.join(cls.root, "cni-bin"))
        shutil.copytree(test_cni.PLUGINS, os.path.join(cls.root, "cni-bin"))
        test_cni.Cni.use.__func__(cls, {"type": "bridge", "bridge": "kata0", "isGateway": True, "ipMasq": False})

    @classmethod
    def shield_host(cls):
        """In this test's own mount namespace, and cgroups of its own."""
        for name, value in KERNEL.items():
            path = os.path.join(cls.root, os.path.basename(name))
            with open(path, "w", encoding="ascii") as f:
                f.write(value + "\n")
            subprocess.run(["mount", "--bind", path, "/proc/sys/" + name], check=True)
            cls.addClassCleanup(subprocess.run, ["umount", "/proc/sys/" + name], check=True)
        made = [path for path in FOLDERS if not os.path.isdir(path)]
        for path in FOLDERS:
            os.makedirs(path, exist_ok=True)
            if path in made:
                cls.addClassCleanup(os.rmdir, path)
            subprocess.run(["mount", "-t", "tmpfs", "kata-test", path], check=True)
            cls.addClassCleanup(subprocess.run, ["umount", "-l", path], check=True)
        remove_cgroups()
        cls.addClassCleanup(remove_cgroups)
        for path in cgroup_folders():
            os.mkdir(path)

    @classmethod
    def setUpClass(cls):
        if missing():
            raise unittest.SkipTest(f"not on the PATH: {', '.join(missing())}")
        if not os.path.exists(os.path.join(test_cni.PLUGINS, "bridge")):
            raise unittest.SkipTest(f"no CNI plug-ins in {test_cni.PLUGINS}")
        super().setUpClass()
        cls.services = Services(cls.root)
        cls.addClassCleanup(cls.services.stop)
        cls.write_files()
        cls.services.start("etcd", "--data-dir", f"{cls.root}/etcd", "--listen-peer-urls", "http://127.0.0.1:2380",
                           "--listen-client-urls", "http://127.0.0.1:2379",
                           "--advertise-client-urls", "http://127.0.0.1:2379")
        cls.services.start(
            "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--bind-address=127.0.0.1", "--secure-port=6443",
            f"--advertise-address={ADDRESS}",
            f"--cert-dir={cls.root}/apiserver", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={cls.root}/sa.key", f"--service-account-signing-key-file={cls.root}/sa.key",
            "--authorization-mode=AlwaysAllow", f"--token-auth-file={cls.root}/tokens", "--allow-privileged=true",
            "--service-cluster-ip-range=10.96.0.0/24", "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--feature-gates=InPlacePodVerticalScaling=true",
            "--kubelet-preferred-address-types=InternalIP")
        cls.until(lambda: cls.kubectl("get", "--raw", "/readyz", code=None).returncode == 0)
        cls.apply({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata"},
                   "handler": "kata", "overhead": {"podFixed": {"memory": "384Mi", "cpu": "250m"}}})
        cls.services.start("kubelet", f"--kubeconfig={cls.root}/kubeconfig", f"--config={cls.root}/kubelet.json",
                           f"--root-dir={cls.root}/kubelet", f"--cert-dir={cls.root}/kubelet-pki",
                           f"--hostname-override={NODE}", f"--node-ip={ADDRESS}", "--v=2")
        cls.until(lambda: "True" in cls.kubectl("get", "node", NODE, "-o", READY, code=None).stdout)

    @classmethod
    def write_files(cls):
        subprocess.run(["openssl", "genrsa", "-out", f"{cls.root}/sa.key", "2048"], check=True, capture_output=True,
                       timeout=60)
        user = {"token": "tells-nobody"}
        texts = {"tokens": "tells-nobody,admin,1,system:masters\n", "resolv.conf": "nameserver 192.0.2.53\n",
                 "kubeconfig": json.dumps({
                     "apiVersion": "v1", "kind": "Config", "current-context": "c",
                     "clusters": [{"name": "c", "cluster": {"server": SERVER, "insecure-skip-tls-verify": True}}],
                     "users": [{"name": "u", "user": user}],
                     "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}),
                 "kubelet.json": json.dumps({**KUBELET, "resolvConf": f"{cls.root}/resolv.conf",
                                             "podLogsDir": f"{cls.root}/pod-logs",
                                             "containerRuntimeEndpoint": f"unix://{cls.daemon.socket}"})}
        for name, text in texts.items():
            with open(os.path.join(cls.root, name), "w", encoding="ascii") as f:
                f.write(text)

    @classmethod
    def until(cls, what, seconds=UP_S):
        end = time.monotonic() + seconds * SLOWNESS
        while not what():
            if time.monotonic() > end or cls.services.ended():
                raise AssertionError("not in time\n" + cls.services.tails() + cls.daemon.log_tail())
            time.sleep(0.2)

    @classmethod
    def kubectl(cls, *args, code=0, stdin=None):
        done = subprocess.run(["kubectl", f"--kubeconfig={cls.root}/kubeconfig", *args], input=stdin, text=True,
                              stdin=None if stdin is not None else subprocess.DEVNULL, capture_output=True,
                              timeout=LIMIT, check=False)
        if code is not None and done.returncode != code:
            raise AssertionError(f"kubectl {args}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    @classmethod
    def apply(cls, thing):
        cls.kubectl("apply", "-f", "-", stdin=json.dumps(thing))

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def pod(self, name, *containers, **spec):
        self.addCleanup(self.kubectl, "delete", "pod", name, "--ignore-not-found", "--grace-period=1", "--wait=true")
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "nodeName": NODE, "runtimeClassName": "kata", "automountServiceAccountToken": False,
            "enableServiceLinks": False, "terminationGracePeriodSeconds": 5,
            "containers": [self.container(**c) for c in containers],
            **spec}})

    @staticmethod
    def container(name="c", command=("sleep", "100000"), **more):
        return {"name": name, "image": IMAGE, "imagePullPolicy": "Never", "command": list(command), **more}

    @staticmethod
    def fetched(url):
        with contextlib.suppress(OSError):
            return test_cni.get(url)
        return None

    def wait_phase(self, name, phase):
        self.until(lambda: self.get("pod", name)["status"].get("phase") == phase)

    def wait_ready(self, name):
        self.until(lambda: any(c["type"] == "Ready" and c["status"] == "True"
                               for c in self.get("pod", name)["status"].get("conditions", [])))

    def run_in(self, pod, *command, container="c", code=0):
        return self.kubectl("exec", pod, "-c", container, "--", *command, code=code).stdout

    def remove(self, *pods, grace=1):
        self.kubectl("delete", "pod", *pods, f"--grace-period={grace}", "--wait=true")
        self.until(lambda: not self.ok("container", "ls", "-q", namespace=NAMESPACE).split())

    def test_life(self):
        """Init container, exec, logs, an end with grace."""
        ends = os.path.join(self.root, "ends")
        self.addCleanup(shutil.rmtree, ends)
        self.pod("life", {"command": ["sh", "-c", "trap 'echo ends >/ends/here; exit 0' TERM; cat /shared/made; "
                                      "while :; do sleep 0.1; done"],
                          "volumeMounts": [{"name": "v", "mountPath": "/shared"},
                                           {"name": "ends", "mountPath": "/ends"}]},
                 initContainers=[self.container("init", ["sh", "-c", "echo by init >/shared/made"],
                                                volumeMounts=[{"name": "v", "mountPath": "/shared"}])],
                 volumes=[{"name": "v", "emptyDir": {}},
                          {"name": "ends", "hostPath": {"path": ends, "type": "DirectoryOrCreate"}}])
        self.wait_ready("life")
        self.until(lambda: self.kubectl("logs", "life").stdout == "by init\n")
        self.assertNotEqual(self.run_in("life", "uname", "-r").strip(), os.uname().release)
        self.run_in("life", "sh", "-c", "exit 7", code=7)
        self.remove("life", grace=20)
        self.assertEqual(os.listdir(ends), ["here"])

    def test_volumes(self):
        """ConfigMap and secret, which are swapped; downward API; subPath; a tmpfs; fsGroup."""
        def config(word):
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"word": word}}
        self.apply(config("one"))
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"}, "stringData": {"key": "k"}})
        self.pod("vols",
                 {"volumeMounts": [
                     {"name": "words", "mountPath": "/words"}, {"name": "hidden", "mountPath": "/hidden"},
                     {"name": "about", "mountPath": "/about"}, {"name": "data", "mountPath": "/data"},
                     {"name": "data", "mountPath": "/part", "subPath": "part"},
                     {"name": "words", "mountPath": "/etc/word", "subPath": "word"},
                     {"name": "memory", "mountPath": "/memory"}]},
                 {"name": "d", "volumeMounts": [{"name": "data", "mountPath": "/again", "subPath": "part"}]},
                 securityContext={"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000},
                 volumes=[{"name": "words", "configMap": {"name": "words"}},
                          {"name": "hidden", "secret": {"secretName": "hidden", "defaultMode": 0o440}},
                          {"name": "about", "projected": {"sources": [{"downwardAPI": {"items": [
                              {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}},
                          {"name": "data", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}])
        self.wait_ready("vols")
        self.assertEqual(self.run_in("vols", "cat", "/words/word", "/etc/word", "/hidden/key", "/about/name"),
                         "oneonekvols")
        self.assertEqual(self.run_in("vols", "id").strip(), "uid=1000 gid=3000 groups=2000,3000")
        self.run_in("vols", "sh", "-c", "echo x >/part/x && cp /part/x /memory && cmp /data/part/x /part/x")
        self.assertEqual(self.run_in("vols", "stat", "-c", "%g", "/data/part/x").strip(), "2000")
        self.assertEqual(self.run_in("vols", "cat", "/again/x", container="d"), "x\n")
        self.apply(config("two"))
        self.until(lambda: self.run_in("vols", "cat", "/words/word") == "two")
        self.assertEqual(self.run_in("vols", "cat", "/etc/word"), "one")
        self.remove("vols")

    def test_ends(self):
        """Success, failure with its message, the guest's OOM killer, a program that is missing."""
        self.pod("good", {"command": ["true"]}, restartPolicy="Never")
        self.pod("bad", {"command": ["sh", "-c", "echo why >/dev/termination-log; exit 3"]}, restartPolicy="Never")
        self.pod("big", {"command": ["sh", "-c", "tail /dev/zero"], "resources": {"limits": {"memory": "64Mi"}}},
                 restartPolicy="Never")
        self.pod("none", {"command": ["/no/such/program"]}, restartPolicy="Never")
        self.wait_phase("good", "Succeeded")
        for name, code, reason, message in (("bad", 3, "Error", "why\n"), ("big", 137, "OOMKilled", None),
                                            ("none", 128, "StartError", None)):
            self.wait_phase(name, "Failed")
            end = self.get("pod", name)["status"]["containerStatuses"][0]["state"]["terminated"]
            self.assertEqual((end["exitCode"], end["reason"]), (code, reason), end)
            if message:
                self.assertEqual(end["message"], message)
            if name == "none":
                self.assertIn("/no/such/program", end["message"])
        self.remove("good", "bad", "big", "none")

    def test_probes(self):
        """By a program and over the network; who fails is started again in the same machine."""
        alive = {"exec": {"command": ["test", "-e", "/alive"]}, "periodSeconds": 1, "failureThreshold": 1,
                 "timeoutSeconds": int(20 * SLOWNESS)}
        self.pod("probed",
                 {"command": ["sh", "-c", "touch /alive; echo hello >/index.html; exec httpd -f -p 80 -h /"],
                  "startupProbe": {**alive, "failureThreshold": 30}, "livenessProbe": alive,
                  "readinessProbe": {"httpGet": {"path": "/index.html", "port": 80}, "periodSeconds": 1,
                                     "timeoutSeconds": 10}})
        self.wait_ready("probed")
        address = self.get("pod", "probed")["status"]["podIP"]
        self.until(lambda: self.fetched(f"http://{address}/index.html") == "hello\n")
        boot = self.run_in("probed", "cat", "/proc/sys/kernel/random/boot_id")
        self.run_in("probed", "rm", "/alive")
        self.until(lambda: self.get("pod", "probed")["status"]["containerStatuses"][0]["restartCount"] >= 1)
        self.wait_ready("probed")
        self.assertEqual(self.run_in("probed", "cat", "/proc/sys/kernel/random/boot_id"), boot)
        self.remove("probed")

    def test_kubectl(self):
        """Input, copies, a forwarded port, a container to look with, what is used."""
        self.pod("tools", {"command": ["sh", "-c", "echo hello >/index.html; exec httpd -f -p 80 -h /"]},
                 {"name": "other"}, shareProcessNamespace=True, hostname="named",
                 hostAliases=[{"ip": "192.0.2.9", "hostnames": ["far"]}])
        self.wait_ready("tools")
        self.assertEqual(self.run_in("tools", "hostname"), "named\n")
        self.assertIn("192.0.2.9", self.run_in("tools", "cat", "/etc/hosts"))
        self.assertIn("httpd", self.run_in("tools", "ps", container="other"))
        done = self.kubectl("exec", "-i", "tools", "-c", "c", "--", "cat", stdin="through\n")
        self.assertEqual(done.stdout, "through\n")
        path = os.path.join(self.root, "copied")
        with open(path, "wb") as f:
            f.write(os.urandom(1 << 20))
        self.kubectl("cp", "-c", "c", path, "tools:/tmp/there")
        self.kubectl("cp", "-c", "c", "tools:/tmp/there", path + ".back")
        with open(path, "rb") as one, open(path + ".back", "rb") as other:
            self.assertEqual(one.read(), other.read())
        with subprocess.Popen(["kubectl", f"--kubeconfig={self.root}/kubeconfig", "port-forward", "tools", "8081:80"],
                              stdout=subprocess.PIPE, text=True) as forward:
            try:
                self.assertIn("Forwarding", forward.stdout.readline())
                with urllib.request.urlopen("http://127.0.0.1:8081/index.html", timeout=20) as answer:
                    self.assertEqual(answer.read(), b"hello\n")
            finally:
                forward.kill()
        self.kubectl("debug", "tools", "--image", IMAGE, "--image-pull-policy=Never", "--target=c", "-c", "looks", "--",
                     "sh", "-c", "ps; sleep 1000")
        self.until(lambda: "httpd" in self.kubectl("logs", "tools", "-c", "looks", code=None).stdout)
        self.remove("tools")

    def test_restarts_of_the_node(self):
        """Of kubelet and of containerd, with a pod that goes on."""
        self.pod("stays", {"command": ["sh", "-c", "while :; do date +%s.%N; sleep 0.2; done"]})
        self.wait_ready("stays")
        boot = self.run_in("stays", "cat", "/proc/sys/kernel/random/boot_id")
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()
        self.services.restart()
        self.until(lambda: self.kubectl("exec", "stays", "--", "true", code=None).returncode == 0)
        self.pod("later", {"command": ["true"]}, restartPolicy="Never")
        self.wait_phase("later", "Succeeded")
        self.assertEqual(self.run_in("stays", "cat", "/proc/sys/kernel/random/boot_id"), boot)
        self.assertEqual(self.get("pod", "stays")["status"]["containerStatuses"][0]["restartCount"], 0)
        self.remove("stays", "later")

    def test_options(self):
        """Sidecar, hooks of a life, kernel parameters, what a container may, a directory and a port of the host."""
        shared = os.path.join(self.root, "of-the-host")
        os.makedirs(shared)
        self.addCleanup(shutil.rmtree, shared)
        mount = [{"name": "host", "mountPath": "/host"}]
        self.pod("options",
                 {"command": ["sh", "-c", "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp"], "tty": True,
                  "ports": [{"containerPort": 80, "hostPort": 8082}],
                  "volumeMounts": [*mount, {"name": "tmp", "mountPath": "/tmp"}],
                  "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo >/host/post-start"]}},
                                "preStop": {"exec": {"command": ["sh", "-c", "echo >/host/pre-stop"]}}},
                  "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
                                      "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                                      "seccompProfile": {"type": "RuntimeDefault"}}},
                 initContainers=[self.container("side", ["sh", "-c", "echo >/host/side; exec sleep 100000"],
                                                volumeMounts=mount, restartPolicy="Always")],
                 securityContext={"sysctls": [{"name": "net.core.somaxconn", "value": "77"}]},
                 volumes=[{"name": "host", "hostPath": {"path": shared, "type": "Directory"}},
                          {"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}])
        self.wait_ready("options")
        self.assertEqual(sorted(os.listdir(shared)), ["post-start", "side"])
        self.until(lambda: self.fetched(f"http://{ADDRESS}:8082/index.html") == "hello\n")
        self.assertEqual(self.run_in("options", "cat", "/proc/sys/net/core/somaxconn"), "77\n")
        status = self.run_in("options", "cat", "/proc/1/status")
        self.assertIn("CapBnd:\t0000000000000400\n", status)
        self.assertIn("NoNewPrivs:\t1\n", status)
        self.assertIn("Read-only", self.kubectl("exec", "options", "-c", "c", "--", "touch", "/x", code=1).stderr)
        self.remove("options", grace=20)
        self.assertEqual(sorted(os.listdir(shared)), ["post-start", "pre-stop", "side"])

    def test_host_network(self):
        """Refused, and the pod says why."""
        self.pod("hosts", {}, hostNetwork=True)
        self.until(lambda: "asks for the host's network" in self.kubectl("describe", "pod", "hosts").stdout)
        self.remove("hosts")

    def test_grace(self):
        """Who takes no SIGTERM has its time, and no more."""
        self.pod("stubborn", {"command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]})
        self.wait_ready("stubborn")
        began = time.monotonic()
        self.kubectl("delete", "pod", "stubborn", "--grace-period=4", "--wait=true")
        self.assertGreater(time.monotonic() - began, 4)
        self.assertLess(time.monotonic() - began, 30 * SLOWNESS)
        self.until(lambda: not self.ok("container", "ls", "-q", namespace=NAMESPACE).split())

    def test_resize(self):
        """More memory and processors for a container that goes on."""
        def limits(cpu, memory):
            return {"limits": {"cpu": cpu, "memory": memory}, "requests": {"cpu": cpu, "memory": memory}}
        self.pod("grows", {"resources": limits("500m", "100Mi")})
        self.wait_ready("grows")
        self.assertEqual(self.run_in("grows", "cat", "/sys/fs/cgroup/memory.max"), f"{100 << 20}\n")
        # a part of its own from 1.32 on
        resize = ("--subresource=resize",) if "resize" in self.kubectl("patch", "--help").stdout else ()
        self.kubectl("patch", "pod", "grows", *resize, "-p", json.dumps({"spec": {"containers": [
            {"name": "c", "resources": limits("1500m", "900Mi")}]}}))
        self.until(lambda: self.run_in("grows", "cat", "/sys/fs/cgroup/memory.max") == f"{900 << 20}\n")
        self.assertEqual(self.run_in("grows", "cat", "/sys/fs/cgroup/cpu.max"), "150000 100000\n")
        self.assertEqual(self.run_in("grows", "nproc"), "2\n")
        self.assertEqual(self.get("pod", "grows")["status"]["containerStatuses"][0]["restartCount"], 0)
        memory = re.search(r"MemTotal: *(\d+) kB", self.run_in("grows", "cat", "/proc/meminfo"))
        self.assertGreater(int(memory[1]), 900 << 10)
        self.remove("grows")

    def figure(self, name):
        """Of kubelet's metrics, for the pod "busy"; 0 as long as there is none."""
        text = self.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics/resource").stdout
        rows = [line for line in text.splitlines() if line.startswith(name + "{") and 'pod="busy"' in line]
        return float(rows[0].rpartition("}")[2].split()[0]) if rows else 0

    def test_figures(self):
        """What metrics-server asks a node for: what pods use is not nothing."""
        self.pod("busy", {"command": ["sh", "-c", "while :; do :; done"], "resources": {
            "limits": {"cpu": "500m", "memory": "100Mi"}}})
        self.wait_ready("busy")
        for name, least in (("container_cpu_usage_seconds_total", 1), ("container_memory_working_set_bytes", 1 << 16),
                            ("pod_cpu_usage_seconds_total", 1), ("pod_memory_working_set_bytes", 1 << 16)):
            with self.subTest(name=name):
                self.until(lambda: self.figure(name) > least, 40)
        self.remove("busy")


if __name__ == "__main__":
    unittest.main(verbosity=2)
