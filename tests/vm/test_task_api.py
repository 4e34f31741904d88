# SPDX-License-Identifier: Apache-2.0
"""The Task API at the engine's own socket: bad requests, and every call in every wrong state."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import unittest

import grpc_client as rpc
import ttrpc_client
from bad_case import wait_until
from engine_case import (CREATED, EXISTS, INVALID, NOT_FOUND, PAUSED, RUNNING, STATE, STOPPED, TASK,
                         UNSUPPORTED, EngineCase, TaskCase)
from kata_case import BIN, loop_device, processes

KERNEL = ("Pods.test_memory_killer_on_record TaskApi.test_controllers_handed_down "
          "TaskApi.test_device_of_a_privileged_container TaskApi.test_devices_of_the_guest "
          "TaskApi.test_host_name_as_a_sysctl TaskApi.test_huge_pages TaskApi.test_rates_of_a_disk "
          "TaskApi.test_root_is_a_block_device TaskApi.test_root_is_a_file_with_a_file_system "
          "TaskApi.test_update_in_parts TaskApi.test_update_keeps_devices")
LAB = "full"
TIMEOUT_S = 900


class TaskApi(TaskCase):
    def test_delete_before_the_start(self):
        """It ends by that: what Delete answers is what the events say."""
        self.start_engine()
        self.create()
        before = int(time.time())
        done = self.task("Delete", {1: "x"})
        self.assertEqual(rpc.number(done, 2), 137)
        self.assertGreaterEqual(rpc.number(rpc.inner(done, 3), 1), before)
        self.task("Shutdown", {1: "x"})
        self.wait_gone()

    def test_update_with_what_is_the_hosts(self):
        """Processors and devices of the host have no meaning inside: the rest is done."""
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        resources = {"cpu": {"cpus": "0", "mems": "0"}, "memory": {"limit": 96 << 20},
                     "blockIO": {"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 9}]}}
        self.task("Update", {1: "x", 2: {1: "type", 2: json.dumps(resources)}})
        for cpus in ("1000-1001", "all"):
            self.refused(INVALID, "Update", {1: "x", 2: {1: "type", 2: json.dumps(
                {"cpu": {"cpus": cpus}})}}, "linux.resources.cpu.cpus")
        placed = self.machine_processors()
        self.assertIn({0}, placed)
        last = str(max(os.sched_getaffinity(0)))
        self.refused(STATE, "Update", {1: "x", 2: {1: "type", 2: json.dumps(
            {"memory": {"limit": 4096, "checkBeforeUpdate": True}, "cpu": {"cpus": last}})}},
            "checkBeforeUpdate", "in use")
        self.assertEqual(self.machine_processors(), placed)
        # which leaves nothing behind
        self.task("Update", {1: "x", 2: {1: "type", 2: json.dumps({"memory": {"limit": 80 << 20}})}})
        self.end()

    CGROUP_MOUNT = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                    "options": ["nosuid", "noexec", "nodev", "ro"]}

    def update(self, resources):
        return self.task("Update", {1: "x", 2: {1: "type", 2: json.dumps(resources)}})

    def limits(self, *names):
        """What files of the container's cgroup say, in the guest."""
        self.reads = getattr(self, "reads", 0) + 1
        status, out = self.run_exec(f"r{self.reads}", "cat", *(f"/sys/fs/cgroup/{name}" for name in names))
        self.assertEqual(status, 0, out)
        return out.split("\n")[:-1]

    def test_update_in_parts(self):
        """`docker update` sends what was named alone: the rest stays. Refused is all or nothing."""
        spec = self.spec("sleep", "1000")
        spec["mounts"].append(self.CGROUP_MOUNT)
        spec["linux"]["namespaces"].append({"type": "cgroup"})
        spec["linux"]["resources"].update(
            {"cpu": {"quota": 25000, "period": 50000}, "memory": {"limit": 96 << 20}, "pids": {"limit": 50}})
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        files = ("cpu.max", "memory.max", "pids.max", "memory.low")
        self.assertEqual(self.limits(*files), ["25000 50000", str(96 << 20), "50", "0"])
        self.update({"cpu": {"period": 20000}})
        self.assertEqual(self.limits("cpu.max"), ["25000 20000"])
        self.update({"cpu": {"quota": 10000}})
        self.assertEqual(self.limits("cpu.max"), ["10000 20000"])
        self.refused(INVALID, "Update", {1: "x", 2: {1: "type", 2: json.dumps(
            {"memory": {"swap": 64 << 20}})}}, "memory.swap", str(96 << 20))
        self.update({"memory": {"swap": 128 << 20}})
        before = self.limits(*files)
        for wrong, word in (({"cpu": {"quota": 500, "period": 100000}}, "cpu.quota"),
                            ({"unified": {"no.such": "1"}}, "no.such")):
            with self.subTest(wrong=wrong):
                with self.assertRaises(rpc.RpcError) as caught:
                    self.update({"memory": {"limit": 80 << 20, "reservation": 1 << 20}, "pids": {"limit": 60},
                                 **wrong})
                self.assertIn(word, str(caught.exception))
                self.assertEqual(self.limits(*files), before)
        self.end()

    def machine(self):
        (pid,) = [pid for pid in os.listdir("/proc") if pid.isdigit() and self.is_our_machine(pid)]
        return pid

    def machine_oom_score(self):
        with open(f"/proc/{self.machine()}/oom_score_adj", encoding="ascii") as f:
            return int(f.read())

    def machine_processors(self):
        """Those on which each of its threads may run, virtual processors among them."""
        return [os.sched_getaffinity(int(thread)) for thread in sorted(os.listdir(f"/proc/{self.machine()}/task"))]

    def is_our_machine(self, pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            return f"sandbox-{self.ident},".encode() in f.read()
        return False

    def test_machine_is_as_dear_as_its_container(self):
        """To the host's OOM killer: what its owner says, else sooner than others."""
        for given, want in ((None, 200), (500, 500)):
            with self.subTest(given=given):
                spec = self.spec("sleep", "1000")
                if given is not None:
                    spec["process"]["oomScoreAdj"] = given
                self.write_spec(self.bundle, spec)
                self.start_engine()
                self.create()
                self.assertEqual(self.machine_oom_score(), want)
                self.task("Start", {1: "x"})
                self.end()
                self.wait_gone()

    def run_exec(self, ident, *command):
        """Status and output of an exec in the running container."""
        out = os.path.join(self.bundle, ident)
        self.task("Exec", {1: "x", 2: ident, 5: f"file://{out}", 6: f"file://{out}", 7: self.process(*command)})
        self.task("Start", {1: "x", 2: ident})
        status = rpc.number(self.task("Wait", {1: "x", 2: ident}), 1)
        self.task("Delete", {1: "x", 2: ident})
        with open(out, encoding="utf-8") as f:
            return status, f.read()

    def test_rates_of_a_disk(self):
        """docker run --device-write-bps: of a disk that is plugged in, by the guest's number; of others a remark."""
        with open(self.make_disk(), "rb") as f:
            device = loop_device(self, os.path.join(self.root, "slow-device"), f.read())
        number = os.stat(device).st_rdev
        numbers = {"major": os.major(number), "minor": os.minor(number)}
        spec = self.spec("sleep", "1000")
        spec["mounts"].append(self.CGROUP_MOUNT)
        spec["linux"]["namespaces"].append({"type": "cgroup"})
        spec["linux"]["devices"] = [{"path": "/dev/x", "type": "b", **numbers, "fileMode": 0o600}]
        spec["linux"]["resources"]["blockIO"] = {
            "weight": 100, "throttleWriteBpsDevice": [{**numbers, "rate": 1 << 20}],
            "throttleReadIOPSDevice": [{**numbers, "rate": 77}, {"major": 8, "minor": 0, "rate": 5}]}
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        status, out = self.run_exec("e", "sh", "-c", "cat /sys/fs/cgroup/io.max; stat -c '%t:%T' /dev/x")
        self.assertEqual(status, 0, out)
        limits, name = out.splitlines()
        major, minor = (int(part, 16) for part in name.split(":"))
        self.assertEqual(limits, f"{major}:{minor} rbps=max wbps={1 << 20} riops=77 wiops=max")
        self.end()
        self.wait_gone()

    def test_update_keeps_devices(self):
        """CRI sends all resources again, with rules that name the host's devices."""
        with open(self.make_disk(), "rb") as f:
            device = loop_device(self, os.path.join(self.root, "kept-device"), f.read())
        number = os.stat(device).st_rdev
        numbers = {"type": "b", "major": os.major(number), "minor": os.minor(number)}
        spec = self.spec("sleep", "1000")
        spec["linux"]["devices"] = [{"path": "/dev/x", **numbers, "fileMode": 0o600}]
        resources = spec["linux"]["resources"]
        resources["devices"].append({"allow": True, "access": "rwm", **numbers})
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        read = ("dd", "if=/dev/x", "of=/dev/null", "bs=4k", "count=1")
        self.assertEqual(self.run_exec("before", *read)[0], 0)
        self.task("Update", {1: "x", 2: {1: "type", 2: json.dumps({**resources, "memory": {"limit": 96 << 20}})}})
        status, out = self.run_exec("after", *read)
        self.assertEqual(status, 0, out)
        self.end()
        self.wait_gone()

    def test_device_of_a_privileged_container(self):
        """privileged_without_host_devices, and a volume that is a device: it is one that is named."""
        with open(self.make_disk(), "rb") as f:
            device = loop_device(self, os.path.join(self.root, "named-device"), f.read())
        number = os.stat(device).st_rdev
        spec = self.spec("sleep", "1000")
        spec["linux"]["devices"] = [{"path": "/dev/xvda", "type": "b", "major": os.major(number),
                                     "minor": os.minor(number), "fileMode": 0o600}]
        spec["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        status, out = self.run_exec("e", "dd", "if=/dev/xvda", "of=/dev/null", "bs=4k", "count=1")
        self.assertEqual(status, 0, out)
        self.end()
        self.wait_gone()

    def test_devices_of_the_guest(self):
        """By the host's numbers and name: what the guest has not, or as another one, is refused."""
        names = {"null": (1, 3), "fuse": (10, 229)}
        for name, (major, minor) in names.items():
            with self.subTest(name=name):
                self.assertEqual(self.with_device(name, major, minor, "ls", "/dev/named"), (0, "/dev/named\n"))
        if not os.path.exists("/sys/dev/char/10:234"):
            self.skipTest("needs a device that no guest has: /dev/btrfs-control")
        with self.assertRaises(rpc.RpcError) as caught:
            self.with_device("x", 10, 234, "true")
        self.assertIn("linux.devices '/dev/named': the guest has no", str(caught.exception))
        self.task("Shutdown", {1: "x"})

    def with_device(self, name, major, minor, *command):
        """What a container with that one says."""
        spec = self.spec("sleep", "1000")
        spec["linux"]["devices"] = [{"path": "/dev/named", "type": "c", "major": major, "minor": minor,
                                     "fileMode": 0o666}]
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        said = self.run_exec(name, *command)
        self.end()
        self.wait_gone()
        return said

    def test_controllers_handed_down(self):
        """As systemd and Docker in a container do: its own cgroup then takes no process."""
        script = ("cd /sys/fs/cgroup; mkdir init init/threads; echo $$ >init/cgroup.procs; "
                  "echo +memory >cgroup.subtree_control; echo threaded >init/threads/cgroup.type; "
                  "touch /ready; exec sleep 1000")
        spec = self.spec("sh", "-c", script)
        spec["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                               "options": ["nosuid", "noexec", "nodev"]})
        spec["linux"]["namespaces"].append({"type": "cgroup"})
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        ready = os.path.join(self.rootfs, "ready")
        self.assertTrue(wait_until(lambda: os.path.exists(ready)))
        os.unlink(ready)
        status, out = self.run_exec("e", "cat", "/proc/self/cgroup", "/sys/fs/cgroup/cgroup.subtree_control",
                                    "/sys/fs/cgroup/init/threads/cgroup.type")
        self.assertEqual((status, out), (0, "0::/init\nmemory\nthreaded\n"))
        self.task("Stats", {1: "x"})
        self.end()

    def test_many_execs(self):
        """One too many is refused; ended ones that nobody deletes are forgotten in the end."""
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        for i in range(140):
            self.task("Exec", {1: "x", 2: f"e{i}", 7: self.process("true")})
            self.task("Start", {1: "x", 2: f"e{i}"})
            self.task("Wait", {1: "x", 2: f"e{i}"})
        self.refused(NOT_FOUND, "State", {1: "x", 2: "e0"}, "'e0'")
        self.assertEqual(self.state("e139"), STOPPED)
        for i in range(999):
            self.task("Exec", {1: "x", 2: f"m{i}", 7: self.process("true")})
        self.refused(8, "Exec", {1: "x", 2: "more", 7: self.process("true")}, "1000 processes")
        self.task("Delete", {1: "x", 2: "m0"})
        self.task("Exec", {1: "x", 2: "more", 7: self.process("true")})
        self.assertEqual(self.state(), RUNNING)
        self.end()

    def output(self):
        """Of the container "x" in its bundle, run to its end."""
        out = os.path.join(self.bundle, "out")
        self.task("Create", {1: "x", 2: self.bundle, 6: f"file://{out}", 7: f"file://{out}"})
        self.task("Start", {1: "x"})
        self.task("Wait", {1: "x"})
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})
        with open(out, encoding="ascii") as f:
            return f.read()

    def test_network_namespace_of_nobody(self):
        """Docker's word for none: there is no process 0."""
        spec = self.spec("ls", "/sys/class/net")
        spec["linux"]["namespaces"] = [{"type": "network", "path": "/proc/0/ns/net"}]
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.assertEqual(self.output(), "lo\n")

    def test_full_volume(self):
        """The writer is told, and goes on: its root is elsewhere, and there may be room again."""
        volume = os.path.join(self.root, "full-volume")
        os.makedirs(volume)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "kata-test", volume], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", volume], check=True)
        script = ("cd /data; dd if=/dev/zero of=big bs=64k count=160 2>&1 | grep -o 'No space left.*'; "
                  "stat -c %s big; echo x >more; echo root >/tmp/x && cat /tmp/x; rm big; "
                  "echo after >last && cat last")
        spec = self.spec("sh", "-c", script)
        spec["mounts"].append({"destination": "/data", "type": "bind", "source": volume,
                               "options": ["rbind", "rw"]})
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.assertRegex(self.output(), rf"^No space left on device\n{8 << 20}\n.*No space left on device\n"
                         r"root\nafter\n$")
        with open(os.path.join(volume, "last"), encoding="ascii") as f:
            self.assertEqual(f.read(), "after\n")

    def spec_with_huge_pages(self, *command, limits, path=None):
        spec = self.spec(*command)
        spec["linux"].setdefault("resources", {})["hugepageLimits"] = [
            {"pageSize": size, "limit": limit} for size, limit in limits]
        if path:
            spec["mounts"].append({"destination": "/huge", "type": "bind", "source": path,
                                   "options": ["rbind", "rw"]})
        return spec

    def test_huge_pages(self):
        """Memory of the guest, as much as the limit says, in the place of a volume of them."""
        path = os.path.join(self.root, "huge")
        os.makedirs(path)
        done = subprocess.run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M,mode=1770,gid=7", "none",
                               path], capture_output=True, text=True, check=False)
        if done.returncode:
            self.skipTest(f"no hugetlbfs on this host: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", path], check=True)
        out = os.path.join(self.bundle, "out")
        script = ("grep HugePages_Total /proc/meminfo; stat -f -c '%t %s' /huge; stat -c '%a %g' /huge; "
                  "fallocate -l 8M /huge/file; fallocate -l 2M /huge/more || echo no; stat -c %s /huge/file")
        self.write_spec(self.bundle, self.spec_with_huge_pages(
            "sh", "-c", script, path=path, limits=(("2MB", 8 << 20), ("64GB", 0))))
        self.start_engine()
        self.task("Create", {1: "x", 2: self.bundle, 5: "", 6: f"file://{out}", 7: f"file://{out}"})
        self.task("Start", {1: "x"})
        self.task("Wait", {1: "x"})
        with open(out, encoding="ascii") as f:
            text = f.read()
        self.assertRegex(text, r"^HugePages_Total: +4\n958458f6 2097152\n1770 7\n.*No space left.*\n"
                         rf"no\n{8 << 20}\n$")
        self.task("Delete", {1: "x"})
        self.assertEqual(os.listdir(path), [])
        self.task("Shutdown", {1: "x"})

    def test_huge_pages_that_are_not_there(self):
        self.start_engine()
        for limits, word in (((("64GB", 64 << 30),), "KiB"), ((("2 MB", 1),), "page size")):
            self.write_spec(self.bundle, self.spec_with_huge_pages("true", limits=limits))
            with self.assertRaises(rpc.RpcError) as caught:
                self.create()
            self.assertIn("hugepageLimits[0]", str(caught.exception))
            self.assertIn(word, str(caught.exception))

    def run_from(self, mount, *command):
        """Status and output of a container on that root file system, made, run and removed."""
        self.write_spec(self.bundle, self.spec(*command, root={"path": "rootfs"}))
        out = os.path.join(self.bundle, "out")
        self.task("Create", {1: "x", 2: self.bundle, 3: mount, 5: "", 6: f"file://{out}",
                             7: f"file://{out}"})
        self.task("Start", {1: "x"})
        status = rpc.number(self.task("Wait", {1: "x"}), 1)
        self.task("Delete", {1: "x"})
        with open(out, encoding="utf-8") as f:
            return status, f.read()

    def test_root_is_a_file_with_a_file_system(self):
        disk = self.make_disk()
        self.start_engine()
        status, out = self.run_from({1: "ext4", 2: disk, 4: ["rw", "loop"]}, "sh", "-c",
                                    "grep ' / ' /proc/mounts; ls /dev/vd*; echo kept >/file")
        self.assertEqual(status, 0, out)
        self.assertRegex(out, r"/dev/vd\w / ext4 rw")
        self.assertIn("No such file", out)  # the disk itself is not the container's
        self.task("Shutdown", {1: "x"})
        said = subprocess.run(["debugfs", "-R", "cat /file", disk], capture_output=True, text=True,
                              timeout=30, check=True).stdout
        self.assertEqual(said, "kept\n")

    def test_root_is_a_block_device(self):
        """As devmapper's snapshots are: a device, and nothing to be done to it on the host."""
        disk = self.make_disk()
        with open(disk, "rb") as f:
            device = loop_device(self, os.path.join(self.root, "device"), f.read())
        self.start_engine()
        status, out = self.run_from({1: "ext4", 2: device, 4: ["rw"]}, "sh", "-c",
                                    "grep ' / ' /proc/mounts; echo kept >/file")
        self.assertEqual(status, 0, out)
        self.assertRegex(out, r"/dev/vd\w / ext4 rw")
        self.task("Shutdown", {1: "x"})
        self.wait_gone()
        said = subprocess.run(["debugfs", "-R", "cat /file", device], capture_output=True, text=True,
                              timeout=30, check=True).stdout
        self.assertEqual(said, "kept\n")

    def test_root_is_a_disk_on_a_full_one(self):
        """The file has holes, and the host no room for them: an error in the guest, which goes on."""
        place = os.path.join(self.root, "small")
        os.mkdir(place)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", place], check=True)
        disk = os.path.join(place, "disk")
        subprocess.run(["cp", "--sparse=always", self.make_disk(), disk], check=True)
        self.start_engine()
        status, out = self.run_from({1: "ext4", 2: disk, 4: ["rw", "loop"]}, "timeout", "40", "sh", "-c",
                                    "dd if=/dev/urandom of=/big bs=1M count=20 conv=fsync; echo alive $?")
        self.assertEqual((status, out.splitlines()[-1]), (0, "alive 1"), out)
        self.task("Shutdown", {1: "x"})

    def test_root_is_a_disk_that_only_may_be_read(self):
        disk = self.make_disk()
        self.start_engine()
        status, out = self.run_from({1: "ext4", 2: disk, 4: ["ro", "loop"]}, "touch", "/file")
        self.assertEqual(status, 1)
        self.assertIn("Read-only", out)
        self.task("Shutdown", {1: "x"})

    def test_root_is_a_disk_with_nothing_on_it(self):
        path = os.path.join(self.root, "empty")
        with open(path, "wb") as f:
            f.truncate(1 << 20)
        self.write_spec(self.bundle, self.spec("true", root={"path": "rootfs"}))
        self.start_engine()
        self.refused(13, "Create", {1: "x", 2: self.bundle, 3: {1: "ext4", 2: path, 4: ["loop"]}},
                     "ext4", "Invalid argument")
        self.task("Shutdown", {1: "x"})

    def test_before_anything_is_created(self):
        self.start_engine()
        for method in ("State", "Start", "Delete", "Pids", "Pause", "Resume", "Kill", "ResizePty",
                       "CloseIO", "Wait", "Stats"):
            with self.subTest(method=method):
                self.refused(NOT_FOUND, method, {1: "x"}, "'x'")
        self.refused(INVALID, "Update", {1: "x"}, "resources")
        self.refused(INVALID, "Exec", {1: "x", 2: "e"}, "'e'")
        self.refused(UNSUPPORTED, "Checkpoint", {1: "x"}, "checkpoint")
        self.refused(UNSUPPORTED, "Create", {1: "x", 2: self.bundle, 8: "/image"}, "checkpoint")
        self.refused(UNSUPPORTED, "NoSuchMethod", {1: "x"}, "NoSuchMethod")
        self.assertGreater(rpc.number(self.task("Connect", {1: "x"}), 1), 1)
        self.task("Shutdown", {1: "x"})

    def test_states(self):
        self.start_engine()
        self.create()
        self.assertEqual(self.state(), CREATED)
        self.refused(EXISTS, "Create", {1: "x", 2: self.bundle}, "'x'")
        self.task("Exec", {1: "x", 2: "early", 7: self.process("true")})
        self.refused(STATE, "Start", {1: "x", 2: "early"}, "created")
        self.refused(STATE, "Pause", {1: "x"}, "created")
        self.task("Start", {1: "x"})
        self.assertEqual(self.state(), RUNNING)
        self.refused(STATE, "Start", {1: "x"}, "running")
        self.refused(STATE, "Delete", {1: "x"}, "running")
        self.refused(STATE, "Resume", {1: "x"}, "running")
        self.task("ResizePty", {1: "x", 3: 80, 4: 25})  # without a terminal: nothing to do
        self.task("Kill", {1: "x"})  # signal 0: it is there
        for number in (65, 1 << 31):
            self.refused(INVALID, "Kill", {1: "x", 3: number}, str(number))
        self.refused(NOT_FOUND, "Kill", {1: "x", 2: "nobody", 3: 9}, "nobody")
        self.refused(NOT_FOUND, "State", {1: "x", 2: "nobody"}, "nobody")
        self.task("Pause", {1: "x"})
        self.assertEqual(self.state(), PAUSED)
        self.refused(STATE, "Pause", {1: "x"}, "paused")
        exec_of = {1: "x", 2: "e", 7: self.process("true")}
        self.refused(STATE, "Exec", exec_of, "'x' is paused")
        self.refused(STATE, "Delete", {1: "x"}, "paused")
        self.task("Resume", {1: "x"})
        self.task("Kill", {1: "x", 3: 9})
        self.assertEqual(rpc.number(self.task("Wait", {1: "x"}), 1), 137)
        self.assertEqual(self.state(), STOPPED)
        self.refused(STATE, "Exec", exec_of, "'x' is stopped")
        for stop in (0, 15):
            self.refused(NOT_FOUND, "Kill", {1: "x", 3: stop}, "finished")
        self.refused(STATE, "Start", {1: "x"}, "stopped")
        self.assertEqual(rpc.number(self.task("Wait", {1: "x"}), 1), 137)
        self.task("Delete", {1: "x"})
        self.refused(NOT_FOUND, "State", {1: "x"})
        self.task("Shutdown", {1: "x"})

    def test_execs(self):
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        exec_of = {1: "x", 2: "e", 7: self.process("sleep", "1000")}
        self.refused(INVALID, "Exec", {**exec_of, 2: ""}, "exec id")
        self.refused(INVALID, "Exec", {**exec_of, 2: "a/b"}, "a/b")
        self.refused(INVALID, "Exec", {**exec_of, 2: "e" * 300})
        self.refused(INVALID, "Exec", {**exec_of, 7: {1: "", 2: "no JSON"}}, "'e'")
        self.refused(INVALID, "Exec", {**exec_of, 7: {1: "", 2: "{}"}}, "'e'")
        self.task("Exec", exec_of)
        self.refused(EXISTS, "Exec", exec_of, "'e'")
        self.assertEqual(self.state("e"), CREATED)
        self.task("Start", {1: "x", 2: "e"})
        self.refused(STATE, "Delete", {1: "x", 2: "e"}, "running")
        self.task("Kill", {1: "x", 2: "e", 3: 15})
        self.assertEqual(rpc.number(self.task("Wait", {1: "x", 2: "e"}), 1), 143)
        self.task("Delete", {1: "x", 2: "e"})
        self.refused(NOT_FOUND, "State", {1: "x", 2: "e"}, "'e'")
        self.task("Exec", {**exec_of, 2: "none", 7: self.process("/no/such")})
        self.refused(NOT_FOUND, "Start", {1: "x", 2: "none"}, "/no/such")
        self.assertEqual(rpc.number(self.task("Delete", {1: "x", 2: "none"}), 2), 127)
        self.end()

    def test_bad_ids(self):
        self.start_engine()
        for ident in ("a/b", "..", "", "x" * 300, "a b"):
            with self.subTest(ident=ident):
                self.refused(INVALID, "Create", {1: ident, 2: self.bundle}, "container id")
        self.task("Shutdown", {1: "x"})

    def test_bad_bundles(self):
        """Each is refused with its reason; the engine serves the next Create."""
        good = self.spec("true")
        bundle = self.make_bundle("bad")
        self.start_engine()
        for spec, words in (
                ("not JSON", ("config.json",)), ({}, ("ociVersion",)),
                ({**good, "root": {}}, ("root",)),
                ({**good, "root": {"path": "/nowhere"}}, ("/nowhere",)),
                ({**good, "process": {**good["process"], "args": []}}, ("args",)),
                ({**good, "process": {**good["process"], "cwd": "relative"}}, ("cwd",)),
                ({**good, "mounts": [{"destination": "x", "type": "bind"}]}, ("mounts[0]",)),
                ({**good, "mounts": [*good["mounts"], {
                    "destination": "/v", "type": "bind", "source": "/no/volume",
                    "options": ["bind"]}]}, ("/no/volume",)),
                ({**good, "linux": {**good["linux"], "namespaces": [{"type": "mount"}]}},
                 ("network",)),
                ({**good, "linux": {**good["linux"], "namespaces": [
                    {"type": "network", "path": "/no/netns"}]}}, ("/no/netns",)),
                ({**good, "windows": {}}, ("windows",))):
            with self.subTest(words=words):
                with open(os.path.join(bundle, "config.json"), "w", encoding="ascii") as f:
                    f.write(spec if isinstance(spec, str) else json.dumps(spec))
                with self.assertRaises(rpc.RpcError) as caught:
                    self.task("Create", {1: "bad", 2: bundle})
                for word in words:
                    self.assertIn(word, str(caught.exception))
        self.refused(INVALID, "Create", {1: "x", 2: "/no/bundle"}, "/no/bundle")
        self.create()
        self.end()

    def test_bad_streams(self):
        plain = os.path.join(self.bundle, "plain")
        with open(plain, "w", encoding="ascii"):
            pass
        self.start_engine()
        pipe = os.path.join(self.bundle, "pipe")  # nobody reads it: it would be waited for
        os.mkfifo(pipe)
        for names, words in (({6: "/no/fifo"}, "/no/fifo"), ({5: "/no/fifo"}, "/no/fifo"),
                             ({6: plain}, "no fifo"), ({6: f"file://{pipe}"}, "is no file"), ({6: "tcp://x"}, "tcp://x"),
                             ({6: "relative"}, "relative"),
                             ({6: "binary:///no/program"}, "/no/program"),
                             ({6: "binary://relative"}, "absolute"),
                             ({6: "binary:///bin/true?%zz"}, "%zz"),
                             ({6: "file:///proc/none/file"}, "/proc/none")):
            with self.subTest(names=names):
                with self.assertRaises(rpc.RpcError) as caught:
                    self.task("Create", {1: "x", 2: self.bundle, **names})
                self.assertIn(words, str(caught.exception))
        self.create()
        self.end()

    def test_fifos_nobody_opens(self):
        """The process is not held up until the fifo is full, and others never are."""
        out = os.path.join(self.bundle, "out")
        os.mkfifo(out)
        self.write_spec(self.bundle, self.spec("sh", "-c", "echo some; sleep 1000"))
        self.start_engine()
        self.task("Create", {1: "x", 2: self.bundle, 6: out})
        self.task("Start", {1: "x"})
        self.task("Exec", {1: "x", 2: "e", 7: self.process("true")})
        self.task("Start", {1: "x", 2: "e"})
        self.assertEqual(rpc.number(self.task("Wait", {1: "x", 2: "e"}), 1), 0)
        fd = os.open(out, os.O_RDONLY)
        self.assertEqual(os.read(fd, 100), b"some\n")
        os.close(fd)
        self.end()

    def test_size_before_the_start(self):
        """Of a terminal: what the program finds, first or exec."""
        self.start_engine()
        for exec_id, fields in (("", {1: "x", 2: self.bundle}), ("e", {1: "x", 2: "e"})):
            with self.subTest(exec_id=exec_id):
                out = os.path.join(self.root, f"size{exec_id}")
                os.mkfifo(out)
                fd = os.open(out, os.O_RDWR)
                try:
                    if exec_id:
                        process = self.process("sh", "-c", "stty size; sleep 1")
                        self.task("Exec", {**fields, 3: True, 5: out, 7: self.on_terminal(process)})
                    else:
                        spec = self.spec("sh", "-c", "stty size; sleep 1000")
                        spec["process"]["terminal"] = True
                        self.write_spec(self.bundle, spec)
                        self.task("Create", {**fields, 4: True, 6: out})
                    self.task("ResizePty", {1: "x", 2: exec_id, 3: 99, 4: 33})
                    self.task("Start", {1: "x", 2: exec_id})
                    said = b""
                    while not said.endswith(b"\n"):
                        said += os.read(fd, 100)
                    self.assertEqual(said, b"33 99\r\n")
                finally:
                    os.close(fd)
        self.end()

    def test_logger_of_a_terminal(self):
        """Named for both streams, as containerd does, or for the one that there is: it sees the end of both."""
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        out, logger = os.path.join(self.root, "logged"), os.path.join(self.root, "logger")
        with open(logger, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\nexec 5>&-\ncat <&3 >{out}\ncat <&4 >>{out}\necho end >>{out}\n")
        os.chmod(logger, 0o755)
        for number, streams in enumerate(({5: f"binary://{logger}", 6: f"binary://{logger}"}, {5: f"binary://{logger}"})):
            with self.subTest(streams=streams):
                ident = {1: "x", 2: f"e{number}"}
                self.task("Exec", {**ident, 3: True, **streams, 7: self.on_terminal(self.process("echo", "said"))})
                self.task("Start", ident)
                self.task("Wait", ident)
                began = time.monotonic()
                self.task("Delete", ident)
                self.assertLess(time.monotonic() - began, 5)
                with open(out, encoding="ascii", newline="") as f:
                    self.assertEqual(f.read(), "said\r\nend\n")
                os.unlink(out)
        self.end()

    def test_two_deletes(self):
        """A caller that gave up and asks again: it hears that there is nothing when the first is done."""
        self.start_engine()
        out = os.path.join(self.root, "unread")
        os.mkfifo(out)
        fd = os.open(out, os.O_RDWR)
        self.addCleanup(os.close, fd)
        self.write_spec(self.bundle, self.spec("yes"))
        self.task("Create", {1: "x", 2: self.bundle, 6: out})
        self.task("Start", {1: "x"})
        time.sleep(1)
        self.task("Kill", {1: "x", 3: 9})
        self.task("Wait", {1: "x"})
        codes, threads = self.twice("Delete", {1: "x"})
        time.sleep(1)
        self.assertTrue(all(thread.is_alive() for thread in threads))
        for thread in threads:
            thread.join(60)
        self.assertEqual(sorted(codes), [0, NOT_FOUND])
        self.task("Shutdown", {1: "x"})

    def test_what_a_first_process_leaves(self):
        """In a process namespace that is not its own: it is killed before the end is told, as by runc's shim."""
        self.start_engine()
        self.write_spec(self.bundle, self.spec("sleep", "1000"))
        pid = rpc.number(self.task("Create", {1: "x", 2: self.bundle}), 1)
        self.task("Start", {1: "x"})
        spec = self.spec("sh", "-c", "sleep 4321 & sleep 3; exit 3")
        for ns in spec["linux"]["namespaces"]:
            if ns["type"] == "pid":
                ns["path"] = f"/proc/{pid}/ns/pid"
        other, out = os.path.join(self.root, "leaves"), os.path.join(self.root, "ps")
        os.mkdir(other)
        self.write_spec(other, spec)
        self.task("Create", {1: "y", 2: other})
        self.task("Start", {1: "y"})
        for number, found in enumerate((True, False)):
            ident = {1: "x", 2: f"ps{number}"}
            self.task("Exec", {**ident, 5: f"file://{out}", 7: self.process("ps")})
            self.task("Start", ident)
            self.task("Wait", ident)
            self.task("Delete", ident)
            with open(out, encoding="ascii") as f:
                said = f.read()
            self.assertEqual("sleep 4321" in said, found, said)
            os.unlink(out)
            if found:
                self.assertEqual(rpc.number(self.task("Wait", {1: "y"}), 1), 3)
        self.task("Delete", {1: "y"})
        self.end()

    @staticmethod
    def on_terminal(process):
        return {**process, 2: json.dumps({**json.loads(process[2]), "terminal": True})}

    def test_processes_of_a_guest_that_does_not_answer(self):
        """The number that counts is known; without an answer containerd forgets the container."""
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        pid = rpc.number(self.task("State", {1: "x"}), 3)
        machine = int(self.machine())
        os.kill(machine, signal.SIGSTOP)
        try:
            listed = self.task("Pids", {1: "x"})
        finally:
            os.kill(machine, signal.SIGCONT)
        self.assertEqual(rpc.number(rpc.inner(listed, 1), 1), pid)
        self.assertEqual(rpc.inner(rpc.inner(listed, 1), 2), {})
        self.end()

    def test_killed_before_it_was_started(self):
        self.start_engine()
        self.create()
        self.task("Kill", {1: "x", 3: 15})
        self.assertEqual(rpc.number(self.task("Wait", {1: "x"}), 1), 128 + 15)
        self.refused(STATE, "Start", {1: "x"}, "stopped")
        self.task("Delete", {1: "x"})
        self.refused(STATE, "Create", {1: "y", 2: self.bundle}, "stopped")
        self.task("Shutdown", {1: "x"})

    def test_two_creates_at_once(self):
        self.start_engine()
        results, threads = self.twice("Create", {1: "x", 2: self.bundle})
        for thread in threads:
            thread.join(60)
        self.assertEqual(sorted(results), [0, EXISTS])
        self.end()

    def test_root_that_vanishes(self):
        copy = os.path.join(self.root, "copy")
        shutil.copytree(self.rootfs, copy, symlinks=True)
        self.write_spec(self.bundle, self.spec("sleep", "1000", root={"path": copy}))
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        shutil.rmtree(copy)
        self.task("Exec", {1: "x", 2: "e", 7: self.process("true")})
        with self.assertRaises(rpc.RpcError):
            self.task("Start", {1: "x", 2: "e"})
        self.end()

    def test_terminal_without_input(self):
        """As of a pod with `tty` and no `stdin`: nobody has ended what nobody began, until CloseIO does."""
        spec = self.spec("sh", "-c", "read x; exit 7")
        spec["process"]["terminal"] = True
        self.write_spec(self.bundle, spec)
        self.start_engine()
        out = os.path.join(self.bundle, "out")
        self.task("Create", {1: "x", 2: self.bundle, 4: True, 6: f"file://{out}"})
        self.task("Start", {1: "x"})
        time.sleep(1)
        self.assertEqual(self.state(), RUNNING)
        self.task("CloseIO", {1: "x", 3: True})
        self.assertEqual(rpc.number(self.task("Wait", {1: "x"}), 1), 7)
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})

    def test_wishes_of_a_host_with_cgroup_v1(self):
        """What version 2 has not is left out, with a line that says so; and what only a machine's owner can give."""
        spec = self.spec("sh", "-c", "ulimit -n")
        spec["linux"].setdefault("resources", {})["memory"] = {"limit": 64 << 20, "swappiness": 10, "disableOOMKiller": True}
        spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 2000000, "hard": 2000000}]
        spec["mounts"].append({"destination": "/b", "type": "bind", "source": self.bundle, "options": ["rbind", "rshared"]})
        self.write_spec(self.bundle, spec)
        self.start_engine()
        out = os.path.join(self.bundle, "out")
        self.task("Create", {1: "x", 2: self.bundle, 6: f"file://{out}"})
        self.task("Start", {1: "x"})
        self.assertEqual(rpc.number(self.task("Wait", {1: "x"}), 1), 0)
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})
        with open(out, encoding="ascii") as f:
            self.assertEqual(f.read(), "2000000\n")
        with open(os.path.join(self.bundle, "shim.log"), encoding="utf-8") as f:
            log = f.read()
        for words in ("memory.swappiness", "memory.disableOOMKiller", "mountPropagation Bidirectional"):
            self.assertIn(words, log)

    def test_host_name_as_a_sysctl(self):
        spec = self.spec("true")
        spec["linux"]["sysctl"] = {"kernel.hostname": "other"}
        self.write_spec(self.bundle, spec)
        self.start_engine()
        self.refused(INVALID, "Create", {1: "x", 2: self.bundle}, "kernel.hostname", "hostname")
        self.task("Shutdown", {1: "x"})

    def test_waits_that_nobody_waits_for(self):
        """A caller that gives up does not say so: however many there are, the container can be ended."""
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        with ttrpc_client.connect(self.socket) as many:
            for i in range(4096):
                ttrpc_client.ask(many, 2 * i + 1, TASK, "Wait", {1: "x"})
            ttrpc_client.ask(many, 2 * 4096 + 1, TASK, "Wait", {1: "x"})
            with self.assertRaisesRegex(rpc.RpcError, "4096 requests wait already") as caught:
                ttrpc_client.answer(many)
            self.assertEqual(caught.exception.code, 8)
            ttrpc_client.ask(many, 2 * 4097 + 1, TASK, "Kill", {1: "x", 3: 9})
            answers = [ttrpc_client.answer(many) for _ in range(4097)]
            self.assertEqual(sum(rpc.number(got, 1) == 137 for _, got in answers), 4096)
        self.assertEqual(rpc.number(self.task("Wait", {1: "x"}), 1), 137)
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})

    def test_wait_is_answered_when_the_machine_goes(self):
        self.start_engine()
        self.create()
        self.task("Start", {1: "x"})
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(self.task("Wait", {1: "x"})))
        waiting.start()
        for pid, name in processes().items():
            if name.startswith("qemu") and pid not in self.before["processes"]:
                os.kill(pid, 9)
        waiting.join(30)
        self.assertEqual(rpc.number(answers[0], 1), 255)
        self.refused(STATE, "Exec", {1: "x", 2: "e", 7: self.process("true")}, "killed")
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})


class Pods(EngineCase):
    """Containers that say by annotations where they belong, as each manager of pods does."""

    MANAGERS = {
        "containerd": ("io.kubernetes.cri.container-type", "sandbox", "container",
                       "io.kubernetes.cri.sandbox-id"),
        "cri-o": ("io.kubernetes.cri-o.ContainerType", "sandbox", "container",
                  "io.kubernetes.cri-o.SandboxID"),
        "dockershim": ("io.kubernetes.docker.type", "podsandbox", "container",
                       "io.kubernetes.sandbox.id"),
    }

    def start_of(self, ident, bundle, action="start"):
        return subprocess.run([os.path.join(BIN, "containerd-shim-kata-v2"), "-namespace", "n",
                               "-address", "/c.sock", "-id", ident, "-bundle", bundle, action],
                              cwd=bundle, capture_output=True, timeout=30, check=False,
                              stdin=subprocess.DEVNULL)

    def container(self, name, manager, *command):
        """Its bundle, with the annotations of a container of the pod `x`."""
        key, _, value, owner = self.MANAGERS[manager]
        bundle = self.make_bundle(f"{manager}.{name}")
        self.write_spec(bundle, self.spec(*command, annotations={key: value, owner: "x"}))
        return bundle

    def pod(self, manager):
        key, value, _, _ = self.MANAGERS[manager]
        self.write_spec(self.bundle, self.spec("sleep", "1000", annotations={key: value}))
        self.start_engine()
        self.task("Create", {1: "x", 2: self.bundle})
        self.task("Start", {1: "x"})

    def end_pod(self):
        self.task("Kill", {1: "x", 3: 9})
        self.task("Wait", {1: "x"})
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})

    def check_manager(self, manager):
        orphan = self.container("orphan", manager, "true")
        done = self.start_of("orphan", orphan)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"'x' does not run", done.stderr)
        self.pod(manager)
        bundle = self.container("c", manager, "sh", "-c", "exit 4")
        done = self.start_of("c", bundle)
        self.assertEqual(done.stdout.decode(), "unix://" + self.socket)
        self.task("Create", {1: "c", 2: bundle})
        self.task("Start", {1: "c"})
        self.assertEqual(rpc.number(self.task("Wait", {1: "c"}), 1), 4)
        self.task("Delete", {1: "c"})
        self.task("Shutdown", {1: "c"})  # asked after each container: the pod stays
        self.assertEqual(rpc.number(self.task("State", {1: "x"}), 4), RUNNING)
        self.end_pod()

    def test_containerd(self):
        self.check_manager("containerd")

    def test_cri_o(self):
        self.check_manager("cri-o")

    def test_memory_killer_on_record(self):
        """CRI-O takes no events: it looks for a file in the bundle."""
        for manager, there in (("cri-o", True), ("containerd", False)):
            with self.subTest(manager=manager):
                self.pod(manager)
                bundle = self.container("greedy", manager, "sh", "-c", "sleep 1; tail /dev/zero")
                with open(os.path.join(bundle, "config.json"), encoding="utf-8") as f:
                    spec = json.load(f)
                spec["linux"]["resources"] = {"memory": {"limit": 20 << 20}}
                self.write_spec(bundle, spec)
                self.start_of("greedy", bundle)
                self.task("Create", {1: "greedy", 2: bundle})
                self.task("Start", {1: "greedy"})
                self.assertEqual(rpc.number(self.task("Wait", {1: "greedy"}), 1), 137)
                self.assertEqual(os.path.exists(os.path.join(bundle, "oom")), there)
                self.task("Delete", {1: "greedy"})
                self.end_pod()
                self.wait_gone()

    def test_dockershim(self):
        self.check_manager("dockershim")

    def frozen(self, path):
        """A copy of the file in a file system on which writing waits; what lets it go on."""
        image, place = os.path.join(self.root, "ice"), os.path.join(self.root, "frozen")
        with open(image, "wb") as f:
            f.truncate(128 << 20)
        subprocess.run(["mkfs.ext4", "-q", image], check=True, timeout=60)
        os.mkdir(place)
        subprocess.run(["mount", "-o", "loop", image, place], check=True, timeout=30)
        self.addCleanup(subprocess.run, ["umount", "-l", place], check=True)
        subprocess.run(["cp", path, place], check=True, timeout=60)
        subprocess.run(["fsfreeze", "-f", place], check=True, timeout=30)

        def thaw():
            subprocess.run(["fsfreeze", "-u", place], capture_output=True, check=False, timeout=30)

        self.addCleanup(thaw)
        return os.path.join(place, os.path.basename(path)), thaw

    def test_disk_that_is_slow_to_mount(self):
        """What a file system does first may last; the other containers are served meanwhile."""
        disk, thaw = self.frozen(self.make_disk())
        self.pod("containerd")
        bundle = self.container("slow", "containerd", "true")
        self.start_of("slow", bundle)
        made = []
        mount = {1: "ext4", 2: disk, 4: ["rw", "loop"]}
        thread = threading.Thread(target=lambda: made.append(self.task(
            "Create", {1: "slow", 2: bundle, 3: mount}, timeout=90)))
        thread.start()
        monitor, = (pid for pid, name in processes().items() if name.startswith("qemu-system"))
        self.assertTrue(wait_until(lambda: disk in self.open_files(monitor)))
        end = time.monotonic() + 5
        while time.monotonic() < end:
            self.task("Stats", {1: "x"}, timeout=4)
            self.assertEqual(made, [])
            time.sleep(0.2)
        thaw()
        thread.join(60)
        self.assertEqual(len(made), 1)
        self.task("Start", {1: "slow"})
        self.assertEqual(rpc.number(self.task("Wait", {1: "slow"}), 1), 0)
        self.task("Delete", {1: "slow"})
        self.end_pod()

    @staticmethod
    def open_files(pid):
        found = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        return found

    def test_delete_of_one_container(self):
        """What cannot reach its engine is cleaned up alone, the pod lives on."""
        self.pod("containerd")
        for name, running in (("c", True), ("d", False)):
            bundle = self.container(name, "containerd", "sleep", "1000")
            self.task("Create", {1: name, 2: bundle})
            if running:
                self.task("Start", {1: name})
            done = self.start_of(name, bundle, "delete")
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.refused(NOT_FOUND, "State", {1: name})
            self.assertEqual(rpc.number(self.task("State", {1: "x"}), 4), RUNNING)
        self.end_pod()

    def test_unknown_kind_is_refused(self):
        self.write_spec(self.bundle, self.spec("true", annotations={
            "io.kubernetes.cri.container-type": "something"}))
        done = self.shim("start")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"something", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
