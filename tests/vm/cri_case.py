# SPDX-License-Identifier: Apache-2.0
"""What tests of pods share: containerd with its CRI plug-in, an image for the pause container, a
CNI plug-in that gives an address and makes no link, and the calls a kubelet makes."""
import io
import json
import os
import tarfile
import time

import grpc_client as rpc
from containerd_case import DISABLED, IMAGE, ContainerdCase
from kata_case import BUSYBOX, SLOWNESS

PAUSE = "docker.io/library/pause:test"
PAUSE_COMMAND = ["sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 0.2; done"]
NAMESPACE = "k8s.io"
CREATED, RUNNING, EXITED = 0, 1, 2
POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3

# Of the CNI specification's verbs, ADD alone has an answer.
PLUGIN = """#!/bin/sh
cat >/dev/null
[ "$CNI_COMMAND" = ADD ] || exit 0
echo '{"cniVersion":"0.3.1","interfaces":[{"name":"'"$CNI_IFNAME"'","sandbox":"'"$CNI_NETNS"'"}],
"ips":[{"version":"4","address":"10.88.0.2/16","interface":0}]}'
"""

CRI = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{root}/cni-bin"
    conf_dir = "{root}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "kata"
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
    runtime_type = "io.containerd.kata.v2"
    privileged_without_host_devices = true
    pod_annotations = ["io.katacontainers.*"]
    container_annotations = ["io.katacontainers.*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata.options]
      ConfigPath = "{root}/configuration.toml"
"""


def with_command(source, target, name, command):
    """A docker archive like `source` whose image is called `name` and runs `command`."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        files = {m.name: (m, old.extractfile(m).read() if m.isfile() else None)
                 for m in old.getmembers()}
        manifest = json.loads(files["manifest.json"][1])
        config = json.loads(files[manifest[0]["Config"]][1])
        config["config"].update(Entrypoint=None, Cmd=command)
        manifest[0].update(RepoTags=[name], Config="pause.json")
        files["manifest.json"] = (files["manifest.json"][0], json.dumps(manifest).encode())
        files["pause.json"] = (tarfile.TarInfo("pause.json"), json.dumps(config).encode())
        for member, data in files.values():
            if data is not None:
                member.size = len(data)
            new.addfile(member, io.BytesIO(data) if data is not None else None)


class CriCase(ContainerdCase):
    disabled = tuple(name for name in DISABLED if not name.endswith(".cri"))
    configuration = "[hypervisor.qemu]\ndefault_memory = 512\n"

    @classmethod
    def prepare(cls):
        cls.more = CRI.format(root=cls.root, pause=PAUSE)
        os.makedirs(os.path.join(cls.root, "cni"))
        os.makedirs(os.path.join(cls.root, "cni-bin"))
        for name, text in (("cni-bin/none", PLUGIN), ("cni/10-none.conflist", json.dumps({
                "cniVersion": "0.3.1", "name": "none", "plugins": [{"type": "none"}]})),
                           ("cni-bin/loopback", PLUGIN), ("configuration.toml", cls.configuration)):
            with open(os.path.join(cls.root, name), "w", encoding="ascii") as f:
                f.write(text)
            os.chmod(os.path.join(cls.root, name), 0o755)

    @classmethod
    def load_images(cls):
        pause = os.path.join(cls.root, "pause.tar")
        with_command(BUSYBOX, pause, PAUSE, PAUSE_COMMAND)
        cls.ok("image", "import", BUSYBOX, namespace=NAMESPACE)
        cls.ok("image", "import", pause, namespace=NAMESPACE)

    # ---- calls ----

    def cri(self, method, request, timeout=120):
        return rpc.call(self.daemon.socket, "/runtime.v1.RuntimeService/" + method, request, timeout)

    def restart(self, sig):
        self.daemon.stop(sig)
        self.daemon.start()
        end = time.monotonic() + 30
        while True:
            try:
                return self.cri("ListContainers", {})
            except rpc.RpcError as error:  # the plug-in is the last to be ready
                self.assertLess(time.monotonic(), end, error)
                time.sleep(0.1)

    def pod_config(self, name, annotations=None, linux=None, dns=None):
        return {1: {1: name, 2: name + "-uid", 3: "test"}, 2: name,
                3: os.path.join(self.root, "logs"), **({4: dns} if dns else {}),
                7: rpc.pairs(annotations or {}), 8: {2: {1: {2: CONTAINER}}, **(linux or {})}}

    def check_words_of_the_pod(self):
        """What a pod's configuration says to all its containers: name servers, kernel parameters."""
        pod = self.run_pod("told", dns={1: ["10.96.0.10"], 2: ["ns.example", "example"], 3: ["ndots:5"]},
                           linux={3: rpc.pairs({"net.ipv4.ip_unprivileged_port_start": "77"})})
        c = self.start(pod, "c")
        self.assertEqual(self.output(c, "cat", "/etc/resolv.conf", "/etc/hostname"),
                         "search ns.example example\nnameserver 10.96.0.10\noptions ndots:5\ntold\n")
        with open("/etc/hosts", encoding="utf-8") as f:
            self.assertEqual(self.output(c, "cat", "/etc/hosts"), f.read())
        self.assertEqual(self.output(c, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "77\n")
        self.output(c, "sh", "-c", "echo mine >>/etc/hosts")
        self.assertIn("\nmine\n", self.output(self.start(pod, "d"), "cat", "/etc/hosts"))
        self.remove_pod(pod)
        with self.assertRaises(rpc.RpcError) as caught:
            self.run_pod("wrong", linux={3: rpc.pairs({"net.ipv4.no_such": "1"})})
        self.assertIn("net.ipv4.no_such", str(caught.exception))

    def run_pod(self, name, **kw):
        """RunPodSandbox; returns (id, configuration)."""
        config = self.pod_config(name, **kw)
        ident = rpc.text(self.cri("RunPodSandbox", {1: config, 2: "kata"}), 1)
        self.pods.append(ident)
        return ident, config

    def create(self, pod, name, *command, mounts=(), devices=(), linux=None, annotations=None,
               image=IMAGE, more=None):
        """`more`: further fields of ContainerConfig."""
        ident, config = pod
        return rpc.text(self.cri("CreateContainer", {1: ident, 2: {
            1: {1: name}, 2: {1: image}, 3: list(command),
            7: [{1: inside, 2: outside, 3: read_only} for inside, outside, read_only in mounts],
            8: [{1: inside, 2: outside, 3: "rwm"} for inside, outside in devices],
            10: rpc.pairs(annotations or {}), 11: name + ".log",
            15: {2: {3: {2: CONTAINER}}, **(linux or {})}, **(more or {})}, 3: config}), 1)

    def start(self, pod, name, *command, **kw):
        ident = self.create(pod, name, *(command or ("sleep", "1000")), **kw)
        self.cri("StartContainer", {1: ident})
        return ident

    def sync(self, ident, *command, timeout=int(30 * SLOWNESS)):
        """ExecSync: (status, standard output)."""
        done = self.cri("ExecSync", {1: ident, 2: list(command), 3: timeout})
        return rpc.number(done, 3), rpc.text(done, 1)

    def output(self, ident, *command):
        status, out = self.sync(ident, *command)
        self.assertEqual(status, 0, out)
        return out

    def container_status(self, ident):
        """(state, exit code)"""
        status = rpc.inner(self.cri("ContainerStatus", {1: ident}), 1)
        return rpc.number(status, 3), rpc.number(status, 7)

    def wait_exited(self, ident):
        self.wait_until(lambda: self.container_status(ident)[0] == EXITED)
        return self.container_status(ident)[1]

    def remove_pod(self, pod):
        self.cri("StopPodSandbox", {1: pod[0]})
        self.cri("RemovePodSandbox", {1: pod[0]})
        self.pods.remove(pod[0])

    def setUp(self):
        super().setUp()
        self.pods = []
        self.addCleanup(self.remove_pods)

    def remove_pods(self):
        for ident in list(self.pods):
            for method in ("StopPodSandbox", "RemovePodSandbox"):
                try:
                    self.cri(method, {1: ident})
                except rpc.RpcError as error:
                    print(f"{method} {ident}: {error}")
