# SPDX-License-Identifier: Apache-2.0
"""What a machine is given: huge pages of the host, all memory at once, places for devices."""
import json
import os
import subprocess
import unittest
from unittest import mock

import grpc_client as rpc
from bad_case import BadCase, wait_until
from engine_case import UNSUPPORTED, EngineCase
from kata_case import loop_device, processes

LAB = "full"
POOL = "/proc/sys/vm/nr_hugepages"
PAGES = 320


def meminfo():
    """Numbers of /proc/meminfo: KiB, or pages."""
    with open("/proc/meminfo", encoding="ascii") as f:
        return {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in f)}


def pool(pages=None):
    """The size of the host's pool, which becomes `pages` if that is given."""
    if pages is not None:
        with open(POOL, "w", encoding="ascii") as f:
            f.write(str(pages))
    with open(POOL, encoding="ascii") as f:
        return int(f.read())


def taken():
    """Pages of the pool that somebody has, or has reserved."""
    now = meminfo()
    return now["HugePages_Total"] - now["HugePages_Free"] + now["HugePages_Rsvd"]


def fill_pool(case, pages=PAGES):
    """The pool for the length of a test."""
    try:
        before = pool()
        case.addCleanup(pool, before)
        got = pool(before + pages) - before
    except OSError as e:
        raise unittest.SkipTest(f"{POOL}: {e.strerror}") from e
    if got < pages:
        raise unittest.SkipTest(f"this host has {got} of {pages} huge pages to spare")


def monitor():
    """The machine's process."""
    return next(pid for pid, name in processes().items() if name.startswith("qemu"))


def resident_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Rss:")) >> 10


class Memory(BadCase):
    def test_huge_pages(self):
        fill_pool(self)
        before, huge = taken(), meminfo()["Hugepagesize"]
        for fs in ("virtio-fs", "virtio-9p"):
            with self.subTest(fs=fs):
                config = self.config({"enable_hugepages": True, "default_memory": 255,
                                      "shared_fs": fs})  # 256: no part of a page is to be had
                self.kata_ok("--config", config, "run", "-d", "--name", "huge", "busybox",
                             "sleep", "1000")
                self.assertEqual(taken() - before, (256 << 10) // huge)
                self.assertEqual(self.kata_ok("exec", "huge", "echo", "well"), "well\n")
                self.kata_ok("rm", "-f", "huge")
                self.assertTrue(wait_until(lambda: taken() == before))

    def test_too_few_huge_pages(self):
        fill_pool(self, 8)
        config = self.config({"enable_hugepages": True, "default_memory": 256})
        self.refused("enable_hugepages: 256 MiB", "of this host's", POOL, config=config)

    def test_all_of_it_at_once(self):
        for wanted in (False, True):
            with self.subTest(wanted=wanted):
                config = self.config({"enable_mem_prealloc": wanted, "default_memory": 512})
                self.kata_ok("--config", config, "run", "-d", "--name", "all", "busybox",
                             "sleep", "1000")
                self.assertEqual(resident_mib(monitor()) >= 512, wanted)
                self.kata_ok("rm", "-f", "all")

    def test_all_of_it_at_once_and_none_there(self):
        """What an ordinary machine would start with is not enough for one that takes it all."""
        config = self.config({"enable_mem_prealloc": True, "default_memory": 1 << 20})
        self.refused("MiB of memory available", "end others first", config=config)


class Apart(BadCase):
    """What a monitor or a file server that the guest has taken over can reach."""

    def test_machines_of_one_user(self):
        for fs in ("virtio-fs", "virtio-9p"):
            with self.subTest(fs=fs):
                config = self.config({"shared_fs": fs, "default_memory": 256})
                for name in ("one", "two"):
                    self.kata_ok("--config", config, "run", "-d", "--name", name, "busybox",
                                 "sleep", "1000")
                monitors = [p for p, name in processes().items() if name.startswith("qemu")]
                namespaces = {os.readlink(f"/proc/{pid}/ns/pid") for pid in (*monitors, "self")}
                self.assertEqual((len(monitors), len(namespaces)), (2, 3))
                for pid in monitors:
                    self.check_root(pid)
                self.kata_ok("rm", "-f", "one", "two")

    @staticmethod
    def mounts(pid):
        """{place: options} of a process."""
        with open(f"/proc/{pid}/mountinfo", encoding="ascii") as f:
            return {line.split()[4]: set(line.split()[5].split(",")) for line in f}

    def check_root(self, pid):
        """Nothing can be added to it, and no device is anywhere but in /dev."""
        mounts = self.mounts(pid)
        self.assertLessEqual({"ro", "nosuid"}, mounts.pop("/"))
        for place, options in mounts.items():
            self.assertLessEqual({"nodev", "nosuid"}, options, place)

    def test_mounts_of_the_share(self):
        self.kata_ok("run", "-d", "--name", "m", "-v", f"{self.root}:/v", "busybox", "sleep", "1000")
        servers = [pid for pid, name in processes().items() if name == "virtiofsd"]
        self.assertTrue(servers)
        for pid in servers:
            shared = {place: options for place, options in self.mounts(pid).items() if place != "/"}
            self.assertGreater(len(shared), 1)
            for place, options in shared.items():
                self.assertLessEqual({"nodev", "nosuid"}, options, place)
        self.kata_ok("rm", "-f", "m")


class Plugged(EngineCase):
    """Memory and devices of a machine that runs."""

    def update(self, mib):
        self.task("Update", {1: "x", 2: {1: "type", 2: json.dumps({"memory": {"limit": mib << 20}})}})

    def engine(self, keys):
        path = os.path.join(self.bundle, "configuration.toml")
        with open(path, "w", encoding="ascii") as f:
            f.write(f"[hypervisor.qemu]\ndefault_memory = 256\n{keys}"
                    "[runtime]\nstatic_sandbox_resource_mgmt = false\n")
        with mock.patch.dict(os.environ, {"KATA_CONF_FILE": path}):
            self.start_engine()

    def start(self, keys, *command, devices=(), out=""):
        spec = self.spec(*(command or ("sleep", "1000")))
        spec["linux"]["resources"] = {}
        for number, device in enumerate(devices):
            rdev = os.stat(device).st_rdev
            spec["linux"].setdefault("devices", []).append(
                {"path": f"/dev/disk{number}", "type": "b", "major": os.major(rdev),
                 "minor": os.minor(rdev), "fileMode": 0o600, "uid": 0, "gid": 0})
            spec["linux"]["resources"].setdefault("devices", []).append(
                {"allow": True, "type": "b", "major": os.major(rdev), "minor": os.minor(rdev), "access": "rwm"})
        self.write_spec(self.bundle, spec)
        self.engine(keys)
        self.task("Create", {1: "x", 2: self.bundle, 6: out})
        self.task("Start", {1: "x"})

    def test_huge_pages(self):
        fill_pool(self)
        before = taken()
        self.start("enable_hugepages = true\n")
        at_start = taken()
        self.update(400)
        more = (taken() - at_start) * meminfo()["Hugepagesize"] >> 10
        self.assertTrue(128 <= more <= 384, more)
        self.end()
        self.assertTrue(wait_until(lambda: taken() == before))

    def test_memory_slots(self):
        self.start("memory_slots = 1\n")
        self.update(300)
        with self.assertRaisesRegex(rpc.RpcError, "all 1 memory slots are taken"):
            self.update(800)
        self.end()

    def test_places(self):
        """More disks than a machine has slots; each is the one that it is taken for."""
        devices = [loop_device(self, os.path.join(self.root, f"disk{n}"), f"disk {n}\n".encode())
                   for n in range(20)]
        with self.assertRaisesRegex(rpc.RpcError, r"all \d+ places .*pcie_root_port adds some"):
            self.start("", devices=devices)
        self.task("Shutdown", {1: "x"})
        self.shim("delete", "-bundle", self.bundle)
        self.bundle = self.make_bundle("more")
        out = os.path.join(self.bundle, "out")
        self.start("pcie_root_port = 12\n", "sh", "-c",
                   "for n in $(seq 0 19); do head -n 1 /dev/disk$n; done", devices=devices,
                   out=f"file://{out}")
        self.task("Wait", {1: "x"})
        with open(out, encoding="ascii") as f:
            self.assertEqual(f.read(), "".join(f"disk {n}\n" for n in range(20)))
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})

    def test_places_of_a_machine_without_slots(self):
        with self.assertRaisesRegex(rpc.RpcError, "pcie_root_port: qemu/microvm: no block hot-plug"):
            self.start('machine_type = "microvm"\npcie_root_port = 1\n')
        self.task("Shutdown", {1: "x"})

    def test_disk_of_a_machine_without_slots(self):
        """Its file system may be a stranger's: the host mounts it where that is asked for only."""
        disk = os.path.join(self.root, "root.ext4")
        subprocess.run(["mkfs.ext4", "-q", "-d", self.rootfs, disk, "16M"], check=True, timeout=60)
        mounts = [{1: "ext4", 2: disk, 4: ["rw", "loop"]}]
        self.write_spec(self.bundle, self.spec("grep", " / ", "/proc/mounts", root={"path": "rootfs"}))
        self.engine('machine_type = "microvm"\n')
        self.refused(UNSUPPORTED, "Create", {1: "x", 2: self.bundle, 3: mounts},
                     "disable_block_device_use", "no block hot-plug")
        self.task("Shutdown", {1: "x"})
        self.shim("delete", "-bundle", self.bundle)
        self.bundle = self.make_bundle("shared")
        self.write_spec(self.bundle, self.spec("grep", " / ", "/proc/mounts", root={"path": "rootfs"}))
        self.engine('machine_type = "microvm"\ndisable_block_device_use = true\n')
        out = os.path.join(self.bundle, "out")
        self.task("Create", {1: "x", 2: self.bundle, 3: mounts, 6: f"file://{out}"})
        self.task("Start", {1: "x"})
        self.task("Wait", {1: "x"})
        with open(out, encoding="ascii") as f:
            self.assertRegex(f.read(), "^kataShared / (virtiofs|9p) ")
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
