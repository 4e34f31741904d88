# SPDX-License-Identifier: Apache-2.0
"""What tests at the engine's own socket share: bundles, an engine started by hand."""
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import unittest

import commands
import grpc_client as rpc
import ttrpc_client
from kata_case import BIN, BUSYBOX, TREE, check_unchanged, footprint

TASK = "containerd.task.v3.Task"
INVALID, NOT_FOUND, EXISTS, STATE, UNSUPPORTED = 3, 5, 6, 9, 12
CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4


class EngineCase(unittest.TestCase):
    """An engine for each test; each must leave the host as it was."""

    failureException = commands.Failure
    ident = "x"

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.root = tempfile.mkdtemp(prefix="kata-engine.", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.rootfs = os.path.join(cls.root, "rootfs")
        os.makedirs(cls.rootfs)
        with tarfile.open(BUSYBOX) as image:
            layer = next(m for m in image.getmembers() if m.name.endswith("layer.tar"))
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                files.extractall(cls.rootfs)

    def setUp(self):
        self.before = footprint(self.root)
        self.addCleanup(self.check_nothing_left)
        self.bundle = self.make_bundle(self.ident)

    def start_engine(self):
        done = self.shim("start")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.socket = done.stdout.decode().removeprefix("unix://")
        self.addCleanup(self.shim, "delete", "-bundle", self.bundle)

    def check_nothing_left(self):
        check_unchanged(self, self.before, 15)

    def make_bundle(self, name):
        path = os.path.join(self.root, f"{self._testMethodName}.{name}")
        os.makedirs(path)
        return path

    def spec(self, *command, **more):
        with open(os.path.join(TREE, "tests/corpus/oci/ctr-0.json"), encoding="utf-8") as f:
            spec = json.load(f)
        spec["process"]["args"] = list(command)
        spec["root"] = {"path": self.rootfs}
        return {**spec, **more}

    def write_spec(self, bundle, spec):
        with open(os.path.join(bundle, "config.json"), "w", encoding="ascii") as f:
            json.dump(spec, f)

    def make_disk(self, name="disk"):
        """A file with an ext4 file system that holds busybox."""
        path = os.path.join(self.root, f"{self._testMethodName}.{name}")
        with open(path, "wb") as f:
            f.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-d", self.rootfs, path], check=True, timeout=60)
        return path

    def shim(self, action, *args):
        return commands.run([os.path.join(BIN, "containerd-shim-kata-v2"), "-namespace", "n",
                             "-address", "/c.sock", "-id", self.ident, *args, action],
                            cwd=self.bundle, timeout=30, stdin=subprocess.DEVNULL)

    def task(self, method, request, **kw):
        return ttrpc_client.call(self.socket, TASK, method, request, **kw)

    def end(self):
        """The running container "x", and with it the engine."""
        self.task("Kill", {1: "x", 3: 9, 4: True})
        self.task("Wait", {1: "x"})
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})

    def wait_gone(self):
        """Until the engine's directory is: then the same id starts again."""
        end = time.monotonic() + 20
        while os.path.exists("/run/kata/x"):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def refused(self, code, method, request, *words):
        """A call that must fail with this status and text."""
        with self.assertRaises(rpc.RpcError) as caught:
            self.task(method, request)
        self.assertEqual(caught.exception.code, code, caught.exception)
        for word in words:
            self.assertIn(word, str(caught.exception))


class TaskCase(EngineCase):
    """One container "x" that sleeps, unless the test writes another specification."""

    def setUp(self):
        super().setUp()
        self.write_spec(self.bundle, self.spec("sleep", "1000"))

    def create(self):
        self.task("Create", {1: "x", 2: self.bundle})

    def twice(self, method, request):
        """One call by two callers at once: where their statuses come (0: none), and who brings them."""
        codes = []

        def call():
            try:
                self.task(method, request)
                codes.append(0)
            except rpc.RpcError as error:
                codes.append(error.code)

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        return codes, threads

    def state(self, exec_id=""):
        return rpc.number(self.task("State", {1: "x", 2: exec_id}), 4)

    def process(self, *command):
        spec = self.spec()["process"]
        return {1: "types.containerd.io/opencontainers/runtime-spec/1/Process",
                2: json.dumps({**spec, "args": list(command)})}
