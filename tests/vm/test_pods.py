# SPDX-License-Identifier: Apache-2.0
"""Pods through the CRI plug-in of Debian's containerd, as a kubelet makes them."""
import base64
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
import unittest

import grpc_client as rpc
from containerd_case import folder
from cri_case import NAMESPACE, NODE, POD, RUNNING, TARGET, CriCase
from kata_case import BUILD, LIMIT, SLOWNESS, processes

KERNEL = ("Growing.test_containers_and_updates Pinned.test_cpusets "
          "Pod.test_block_device_of_two_containers Pod.test_direct_volume "
          "Pod.test_limits_size_the_machine Pod.test_privileged Pod.test_room_of_a_removed_container "
          "Pod.test_shared_processes Pod.test_stats Pod.test_two_containers_in_one_machine "
          "Pod.test_volume_of_memory Pod.test_volumes_are_seen_to_change")
LAB = "full"
TIMEOUT_S = 900


class Pod(CriCase):
    def test_two_containers_in_one_machine(self):
        """One VM; network, IPC, host name and /dev/shm are shared, processes are not."""
        pod = self.run_pod("two")
        first, second = self.start(pod, "first"), self.start(pod, "second")
        self.assertEqual(list(processes().values()).count("qemu-system-x86_64"),
                         list(self.before["processes"].values()).count("qemu-system-x86_64") + 1)
        for read in (("uname", "-r"), ("cat", "/proc/sys/kernel/random/boot_id"), ("hostname",),
                     ("readlink", "/proc/self/ns/ipc"), ("readlink", "/proc/self/ns/uts"),
                     ("readlink", "/proc/self/ns/net")):
            self.assertEqual(self.output(first, *read), self.output(second, *read), read)
        self.assertNotEqual(self.output(first, "uname", "-r").strip(), platform.release())
        self.assertEqual(self.output(first, "hostname"), "two\n")
        self.assertNotEqual(self.output(first, "readlink", "/proc/self/ns/pid"),
                            self.output(second, "readlink", "/proc/self/ns/pid"))
        self.assertEqual(self.output(first, "cat", "/proc/1/comm"), "sleep\n")
        self.output(first, "sh", "-c", "echo shared >/dev/shm/x; (echo well | nc -l -p 4000) "
                    ">/dev/null 2>&1 &")
        self.assertEqual(self.output(second, "cat", "/dev/shm/x"), "shared\n")
        self.assertEqual(self.output(second, "df", "-k", "/dev/shm").split("\n")[1].split()[1],
                         "65536")
        self.assertEqual(self.output(second, "sh", "-c", "ifconfig lo up; nc 127.0.0.1 4000 "
                                     "</dev/null"), "well\n")
        self.remove_pod(pod)

    def test_shared_processes(self):
        pod = self.run_pod("pids", linux={2: {1: {2: POD}}})
        first = self.start(pod, "first", linux={2: {3: {2: POD}}})
        second = self.start(pod, "second", "sh", "-c", "sleep 4321; true",
                            linux={2: {3: {2: POD}}})
        self.assertIn("sleep 4321", self.output(first, "ps"))
        self.assertNotEqual(self.output(first, "cat", "/proc/1/comm"), "sleep\n")
        self.assertEqual(self.output(first, "readlink", "/proc/self/ns/pid"),
                         self.output(second, "readlink", "/proc/self/ns/pid"))
        self.cri("StopContainer", {1: second, 2: 0})
        self.assertNotIn("sleep 4321", self.output(first, "ps"))
        self.remove_pod(pod)

    def test_processes_of_one_container(self):
        """As "kubectl debug --target" asks for them."""
        pod = self.run_pod("target")
        main = self.start(pod, "main", "sleep", "4321")
        debugger = self.start(pod, "debugger", "sleep", "1234", linux={2: {3: {2: TARGET, 4: main}}})
        self.assertIn("sleep 4321", self.output(debugger, "ps"))
        self.assertEqual(self.output(debugger, "cat", "/proc/1/comm"), "sleep\n")
        self.assertIn("sleep 1234", self.output(main, "ps"))
        self.cri("StopContainer", {1: debugger, 2: 0})
        self.assertEqual(self.output(main, "pidof", "sleep"), "1\n")
        self.cri("RemoveContainer", {1: debugger})
        again = self.start(pod, "again", "sleep", "1234", linux={2: {3: {2: TARGET, 4: main}}})
        self.cri("StopContainer", {1: main, 2: 0})  # the namespace goes with its first process
        self.assertEqual(self.wait_exited(again), 137)
        self.remove_pod(pod)

    def test_words_of_the_pod(self):
        self.check_words_of_the_pod()

    def test_init_container_and_restart(self):
        """Containers come and go; the pod lives on, also when none is left."""
        pod = self.run_pod("restart")
        with folder(self.root, "empty-dir") as path:
            volume = [("/data", path, False)]
            init = self.start(pod, "init", "sh", "-c", "echo made >/data/x", mounts=volume)
            self.assertEqual(self.wait_exited(init), 0)
            self.cri("RemoveContainer", {1: init})
            for attempt in range(3):
                main = self.start(pod, f"main{attempt}", "sh", "-c", "cat /data/x; exit 3",
                                  mounts=volume)
                self.assertEqual(self.wait_exited(main), 3)
                self.cri("RemoveContainer", {1: main})
                self.assertIn("made", self.read(self.root, "logs", f"main{attempt}.log"))
        again = self.start(pod, "again")
        self.assertEqual(self.container_status(again)[0], RUNNING)
        self.remove_pod(pod)

    def test_exec_and_exit_status(self):
        pod = self.run_pod("exec")
        c = self.start(pod, "c")
        self.assertEqual(self.sync(c, "sh", "-c", "echo out; exit 7"), (7, "out\n"))
        with self.assertRaises(rpc.RpcError) as caught:
            self.sync(c, "sleep", "77", timeout=1)
        self.assertEqual(caught.exception.code, 4)
        self.assertNotIn("sleep 77", self.output(c, "ps"))
        with self.assertRaises(rpc.RpcError) as caught:
            self.sync(c, "no-such-program")
        self.assertIn("no-such-program", str(caught.exception))
        self.remove_pod(pod)

    def test_stop_with_grace(self):
        pod = self.run_pod("grace")
        c = self.start(pod, "c", "sh", "-c",
                       "trap 'exit 5' TERM; >/ready; while :; do sleep 0.1; done")
        d = self.start(pod, "d", "sh", "-c", "trap '' TERM; >/ready; while :; do sleep 0.1; done")
        for each in (c, d):
            self.wait_until(lambda each=each: self.sync(each, "test", "-e", "/ready")[0] == 0)
        self.cri("StopContainer", {1: c, 2: 20})
        self.assertEqual(self.container_status(c)[1], 5)
        self.cri("StopContainer", {1: d, 2: 1})
        self.assertEqual(self.container_status(d)[1], 137)
        self.remove_pod(pod)

    def test_termination_message(self):
        pod = self.run_pod("message")
        path = os.path.join(self.root, "message")
        with open(path, "w", encoding="ascii"):
            pass
        c = self.start(pod, "c", "sh", "-c", "echo why >/dev/termination-log",
                       mounts=[("/dev/termination-log", path, False)])
        self.wait_exited(c)
        self.assertEqual(self.read(path), "why\n")
        self.remove_pod(pod)

    def test_limits_size_the_machine(self):
        """The sum of the containers' limits stands in the sandbox's annotations."""
        pod = self.run_pod("sized", linux={5: {1: 100000, 2: 200000, 4: 256 << 20}})
        c = self.start(pod, "c", linux={1: {1: 100000, 2: 50000, 4: 64 << 20}})
        self.assertEqual(self.output(c, "nproc"), "2\n")
        total = int(self.output(c, "cat", "/proc/meminfo").split()[1]) >> 10
        self.assertGreater(total, 256)
        self.assertLess(total, 512)
        self.assertEqual(self.output(c, "cat", "/sys/fs/cgroup/memory.max"), f"{64 << 20}\n")
        self.assertEqual(self.output(c, "cat", "/sys/fs/cgroup/cpu.max"), "50000 100000\n")
        self.cri("UpdateContainerResources", {1: c, 2: {1: 100000, 2: 30000, 4: 80 << 20}})
        self.assertEqual(self.output(c, "cat", "/sys/fs/cgroup/memory.max"), f"{80 << 20}\n")
        self.assertEqual(self.output(c, "cat", "/sys/fs/cgroup/cpu.max"), "30000 100000\n")
        self.remove_pod(pod)

    def test_stats(self):
        pod = self.run_pod("stats")
        c = self.start(pod, "c")
        self.output(c, "sh", "-c", "head -c 20m /dev/zero >/dev/null")
        stats = rpc.inner(self.cri("ContainerStats", {1: c}), 1)
        self.assertGreater(rpc.number(rpc.inner(stats, 2, 2), 1), 1000000)  # CPU, ns
        self.assertGreater(rpc.number(rpc.inner(stats, 3, 2), 1), 4096)     # working set
        self.remove_pod(pod)

    def test_privileged(self):
        pod = self.run_pod("privileged", linux={2: {6: 1}})
        c = self.start(pod, "c", linux={2: {2: 1}})
        self.output(c, "mount", "-t", "tmpfs", "t", "/tmp")
        host = set(os.listdir("/dev"))
        self.assertNotIn("vda", set(self.output(c, "ls", "/dev").split()) & host - {"console"})
        self.remove_pod(pod)

    def enter(self, pod):
        """The beginning of a command in the pod's network namespace on the host."""
        rows = [line.split() for line in self.ok("task", "ls", namespace=NAMESPACE).splitlines()[1:]]
        (pid,) = [row[1] for row in rows if row[0] == pod[0]]
        enter = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        # a plug-in's work, which these pods are without
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
        return enter

    def in_namespace(self, pod, code, *args, ok=True):
        """Python in the pod's network namespace on the host, where containerd forwards ports from."""
        done = subprocess.run([*self.enter(pod), "python3", "-c", code, *args], capture_output=True, timeout=120,
                              check=False)
        self.assertEqual(done.returncode == 0, ok, done.stderr)
        return done.stdout if ok else done.stderr

    def holds(self, size):
        """Whether our file server has a file of that size open."""
        for pid, name in processes().items():
            if name != "virtiofsd" or pid in self.before["processes"]:
                continue
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(f"/proc/{pid}/fd/{fd}").st_size == size:
                        return True
        return False

    def test_room_of_a_removed_container(self):
        """The host has it back while others of the pod live on."""
        pod = self.run_pod("room")
        self.start(pod, "stays")
        ident = self.start(pod, "writes", "sh", "-c", "head -c 20000000 /dev/zero >/big; echo >/done; sleep 1000")
        self.sync(ident, "sh", "-c", "until [ -e /done ]; do sleep 0.1; done")
        self.assertTrue(self.holds(20000000))
        self.cri("StopContainer", {1: ident, 2: 0})
        self.cri("RemoveContainer", {1: ident})
        self.wait_until(lambda: not self.holds(20000000))
        self.remove_pod(pod)

    def test_volume_of_memory(self):
        """An emptyDir in memory, a subPath of it, and a socket in it between two containers."""
        path = os.path.join(self.root, "memory")
        os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "volume", path], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", path], check=True)
        os.makedirs(os.path.join(path, "sub"))
        pod = self.run_pod("memory")
        self.start(pod, "listens", "sh", "-c", "ln -s /v/log /dev/log; exec syslogd -n -O /v/out",
                   mounts=[("/v", path, False)])
        says = self.start(pod, "says", mounts=[("/v", path, False), ("/s", os.path.join(path, "sub"), False)])
        self.assertEqual(self.output(says, "sh", "-c", "ln -s /v/log /dev/log; until [ -S /v/log ]; do sleep 0.1; done;"
                                     "logger through the socket; echo below >/s/file; cat /v/sub/file"), "below\n")
        self.wait_until(lambda: os.path.exists(os.path.join(path, "out")))
        with open(os.path.join(path, "out"), encoding="ascii") as f:
            self.wait_until(lambda: "through the socket" in f.read())
        self.assertTrue(os.path.exists(os.path.join(path, "sub/file")))
        self.remove_pod(pod)

    def test_volume_that_one_only_reads(self):
        """A socket and a lock in it hold between the two, by whichever name the second has it."""
        path = os.path.join(self.root, "read")
        os.makedirs(path)
        os.symlink(path, path + ".link")
        pod = self.run_pod("reads")
        self.start(pod, "listens", "sh", "-c", "ln -s /v/log /dev/log; exec syslogd -n -O /v/out", mounts=[("/v", path, False)])
        for name, source in (("reads", path), ("also", path + ".link")):
            reads = self.start(pod, name, mounts=[("/v", source, True)])
            self.output(reads, "sh", "-c", f"ln -s /v/log /dev/log; until [ -S /v/log ]; do sleep 0.1; done; logger of {name}")
            self.sync(reads, "sh", "-c", f"until grep 'of {name}' /v/out; do sleep 0.1; done; ! touch /v/x 2>/dev/null")
        self.remove_pod(pod)

    def test_forwarded_ports(self):
        """The namespace's loopback is the guest's: what containerd and kubectl port-forward need."""
        pod = self.run_pod("ports")
        ident = self.start(pod, "c", "sh", "-c", "mkdir /w; head -c 3000000 /dev/zero | tr '\\0' x >/w/big;"
                           "httpd -p 127.0.0.1:8080 -h /w; while :; do nc -l -p 9001 -e sh -c 'sleep 1; echo hi'; done &"
                           "while :; do nc -l -p 9000 -e cat; done")
        self.sync(ident, "sh", "-c", "until wget -q -O /dev/null http://127.0.0.1:8080/big; do sleep 0.1; done")
        fetch = ("import urllib.request,sys;"
                 "sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1],timeout=60).read())")
        for _ in range(2):
            self.assertEqual(len(self.in_namespace(pod, fetch, "http://localhost:8080/big")), 3000000)
        # both ways at once, ended by one side first; a big answer after the end of the question
        echo = ("import socket,sys,threading;s=socket.create_connection(('127.0.0.1',9000),60);"
                "t=threading.Thread(target=lambda:(s.sendall(b'y'*2000000),s.shutdown(1)));t.start();"
                "n=0\nwhile True:\n d=s.recv(65536)\n n+=len(d)\n if not d: break\nprint(n)")
        self.assertEqual(self.in_namespace(pod, echo), b"2000000\n")
        # where nobody listens in the guest, neither does anybody here
        self.assertIn(b"Error", self.in_namespace(pod, fetch, "http://127.0.0.1:8081/", ok=False))
        # who goes at once gives his place back
        gone = ("import socket,struct\nfor _ in range(100):\n s=socket.create_connection(('127.0.0.1',8080),60)\n"
                " s.sendall(b'GET ')\n s.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',1,0))\n"
                " s.close()")
        self.in_namespace(pod, gone)
        # an answer that was cut off does not look like a whole one: its server goes with input unread
        cut = ("import socket\ns=socket.create_connection(('127.0.0.1',9001),60)\ns.sendall(b'x'*5000)\n"
               "try:\n while s.recv(100): pass\n print('whole')\nexcept ConnectionResetError: print('cut')")
        self.assertEqual(self.in_namespace(pod, cut), b"cut\n")
        many = ("import socket\nl=[socket.create_connection(('127.0.0.1',8080),60) for _ in range(40)]\n"
                "for s in l: s.sendall(b'GET /none HTTP/1.0\\r\\n\\r\\n')\n"
                "print(sum(b'404' in s.recv(4096) for s in l))")
        self.assertEqual(self.in_namespace(pod, many), b"40\n")

    def test_end_with_a_caller_that_does_not_read(self):
        """More is under way than the sockets hold, and nobody takes it: the pod ends all the same."""
        pod = self.run_pod("deaf")
        self.start(pod, "c", "sh", "-c", "while :; do nc -l -p 9000 -e yes; done")
        code = ("import socket,time\ns=None\nwhile not s:\n"
                " try:\n  s=socket.create_connection(('127.0.0.1',9000),60)\n  assert s.recv(1)\n"
                " except (OSError,AssertionError):\n  s=None\n  time.sleep(.1)\n"
                "print('here',flush=True)\ntime.sleep(120)")
        with subprocess.Popen([*self.enter(pod), "python3", "-c", code], stdout=subprocess.PIPE) as p:
            self.addCleanup(p.kill)
            try:
                self.assertEqual(p.stdout.readline(), b"here\n")
                time.sleep(6)  # that all on the way is full
                began = time.monotonic()
                self.remove_pod(pod)
                self.assertLess(time.monotonic() - began, 15 * SLOWNESS)
            finally:
                p.kill()

    def test_host_network_is_refused(self):
        with self.assertRaises(rpc.RpcError) as caught:
            self.run_pod("host", linux={2: {1: {1: NODE}}})
        self.assertIn("network", str(caught.exception))

    def write_version(self, path, number):
        """As kubelet does with a configmap: a new directory, then the link is replaced."""
        folder_of = os.path.join(path, f"..v{number}")
        os.makedirs(folder_of)
        with open(os.path.join(folder_of, "key"), "w", encoding="ascii") as f:
            f.write(f"value{number}")
        os.symlink(f"..v{number}", os.path.join(path, "..tmp"))
        os.rename(os.path.join(path, "..tmp"), os.path.join(path, "..data"))
        if number == 1:
            os.symlink("..data/key", os.path.join(path, "key"))
        else:
            shutil.rmtree(os.path.join(path, f"..v{number - 1}"))

    def test_volumes_are_seen_to_change(self):
        """Wherever they are on the host; kubelet's are told to who waits for it as well."""
        waiter = os.path.join(BUILD, "host/tests/vm/watch_dir")
        pod = self.run_pod("configmap")
        for kind in ("volumes", "kubernetes.io~configmap", "kubernetes.io~secret"):
            with self.subTest(kind=kind), folder(self.root, kind) as above:
                path = os.path.join(above, "config")
                self.write_version(path, 1)
                c = self.start(pod, kind.replace("~", "-"), "sh", "-c", "/waiter /config; sleep 1000",
                               mounts=[("/config", path, True), ("/waiter", waiter, True)])
                log = os.path.join(self.root, "logs", kind.replace("~", "-") + ".log")
                self.wait_until(lambda: "ready" in self.read(log))
                self.assertEqual(self.output(c, "cat", "/config/key"), "value1")
                self.write_version(path, 2)
                self.wait_until(lambda: self.output(c, "cat", "/config/key") == "value2")
                self.assertNotEqual(self.sync(c, "touch", "/config/new")[0], 0)
                if kind != "volumes":
                    self.wait_until(lambda: " ..data\n" in self.read(log))
                    self.assertEqual(self.output(c, "ls", "-A", "/config"), "..data\n..v2\nkey\n")
                self.cri("StopContainer", {1: c, 2: 0})
                self.cri("RemoveContainer", {1: c})
        self.remove_pod(pod)

    @contextlib.contextmanager
    def direct_volume(self, path, **info):
        """What a storage driver leaves for the runtime, in the directory that this yields."""
        where = os.path.join("/run/kata-containers/shared/direct-volumes",
                             base64.urlsafe_b64encode(path.encode()).decode())
        os.makedirs(where)
        try:
            with open(os.path.join(where, "mountInfo.json"), "w", encoding="ascii") as f:
                json.dump(info, f)
            yield where
        finally:
            shutil.rmtree(where)
            with contextlib.suppress(OSError):  # others' are there
                os.rmdir(os.path.dirname(where))

    def volume_disk(self, path, disk):
        """Makes the directory `path` and a disk with a file in it."""
        os.makedirs(path)
        with open(os.path.join(path, "file"), "w", encoding="ascii") as f:
            f.write("on the disk\n")
        os.chmod(os.path.join(path, "file"), 0o600)
        with open(disk, "wb") as f:
            f.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-d", path, disk], check=True, timeout=60)
        os.unlink(os.path.join(path, "file"))

    def test_direct_volume(self):
        """A disk in the place of a directory, one for all containers, given to a group."""
        path = os.path.join(self.root, "volume")
        disk = os.path.join(self.root, "volume.img")
        self.volume_disk(path, disk)
        info = {"volume-type": "block", "device": disk, "fstype": "ext4", "options": ["noatime"],
                "metadata": {"fsGroup": "2000"}}
        with self.direct_volume(path, **info) as where:
            self.use_direct_volume(path, where)
        self.assertEqual(os.listdir(path), [])
        done = subprocess.run(["debugfs", "-R", "cat /new", disk], check=True, capture_output=True,
                              timeout=60, text=True)
        self.assertEqual(done.stdout, "new\n")

    def use_direct_volume(self, path, where):
        pod = self.run_pod("direct")
        one = self.start(pod, "one", mounts=[("/data", path, False)])
        self.assertEqual(sorted(os.listdir(where)), sorted([pod[0], "mountInfo.json"]))
        two = self.start(pod, "two", mounts=[("/read", path, True)])
        self.assertRegex(self.output(one, "grep", " /data ", "/proc/mounts"),
                         r"^/dev/vd\w /data ext4 rw,noatime")
        self.assertEqual(self.output(one, "stat", "-c", "%g %a", "/data", "/data/file"),
                         "2000 2775\n2000 660\n")
        self.assertEqual(self.output(one, "sh", "-c", "cat /data/file; echo new >/data/new"),
                         "on the disk\n")
        self.assertEqual(self.output(two, "cat", "/read/new"), "new\n")
        self.assertNotEqual(self.sync(two, "touch", "/read/no")[0], 0)
        self.cri("StopContainer", {1: one, 2: 0})
        self.cri("RemoveContainer", {1: one})
        self.assertEqual(self.output(two, "cat", "/read/new"), "new\n")
        self.remove_pod(pod)
        self.assertEqual(os.listdir(where), ["mountInfo.json"])

    def test_direct_volume_of_an_engine_that_ends(self):
        """Killed, or told to end before its containers were deleted."""
        path = os.path.join(self.root, "kept")
        disk = os.path.join(self.root, "kept.img")
        self.volume_disk(path, disk)
        with self.direct_volume(path, **{"volume-type": "block", "device": disk, "fstype": "ext4"}) as where:
            for number in (signal.SIGKILL, signal.SIGTERM):
                with self.subTest(signal=number.name):
                    pod = self.run_pod(f"ends{number.value}")
                    c = self.start(pod, "c", mounts=[("/data", path, False)])
                    self.assertEqual(sorted(os.listdir(where)), sorted([pod[0], "mountInfo.json"]))
                    os.kill(self.engine_pid(pod[0], namespace=NAMESPACE), number)
                    self.assertIn(self.wait_exited(c), (137, 255))
                    self.remove_pod(pod)
                    # containerd cleans up after a killed engine when it finds the time
                    self.wait_until(lambda: os.listdir(where) == ["mountInfo.json"])

    def test_direct_volume_that_is_wrong(self):
        path = os.path.join(self.root, "wrong")
        os.makedirs(path)
        fifo = os.path.join(self.root, "fifo")
        os.mkfifo(fifo)
        pod = self.run_pod("wrong")
        good = {"volume-type": "block", "device": "/no/such/disk", "fstype": "ext4"}
        for i, (more, word) in enumerate((({}, "/no/such/disk"), ({"volume-type": "spdkvol"}, "spdkvol"),
                                          ({"device": "relative"}, "absolute"),
                                          ({"device": fifo, "options": ["ro"]}, "block device"),
                                          ({"fstype": 1}, "fstype"))):
            with self.direct_volume(path, **{**good, **more}) as where:
                with self.assertRaises(rpc.RpcError) as caught:
                    self.start(pod, f"c{i}", mounts=[("/data", path, False)])
                self.assertIn(word, str(caught.exception))
                self.assertEqual(os.listdir(where), ["mountInfo.json"])
        self.remove_pod(pod)

    def test_block_device_of_two_containers(self):
        """One disk of the machine: of two, each would have its own idea of what is on it."""
        node = self.loop_device(b"from the host\n")
        pod = self.run_pod("block")
        one = self.start(pod, "one", devices=[("/dev/one", node)])
        two = self.start(pod, "two", devices=[("/dev/two", node)])
        self.assertEqual(self.output(one, "stat", "-c", "%t:%T", "/dev/one"),
                         self.output(two, "stat", "-c", "%t:%T", "/dev/two"))
        self.output(one, "sh", "-c", "echo from one >/dev/one")
        self.assertEqual(self.output(two, "head", "-n", "1", "/dev/two"), "from one\n")
        self.cri("StopContainer", {1: one, 2: 0})
        self.cri("RemoveContainer", {1: one})
        self.output(two, "sh", "-c", "echo from two >/dev/two; sync")
        more = [self.loop_device(b"%d\n" % i, f"disk{i}") for i in range(4)]
        three = self.start(pod, "three", devices=[(f"/dev/more{i}", path) for i, path in enumerate(more)])
        self.assertEqual(self.output(three, "sh", "-c", "for i in 0 1 2 3; do head -n 1 /dev/more$i; done"),
                         "0\n1\n2\n3\n")
        self.remove_pod(pod)
        with open(node, "rb") as f:
            self.assertEqual(f.readline(), b"from two\n")


class Life(CriCase):
    def sandbox_state(self, pod):
        """0: ready, 1: not ready"""
        return rpc.number(rpc.inner(self.cri("PodSandboxStatus", {1: pod[0]}), 1), 3)

    def test_annotations_of_the_configuration(self):
        prefix = "io.katacontainers.config.hypervisor."
        pod = self.run_pod("told", annotations={prefix + "kernel_params": "said.by=the-pod"})
        self.assertIn("said.by=the-pod", self.output(self.start(pod, "c"), "cat", "/proc/cmdline"))
        self.remove_pod(pod)
        with self.assertRaises(rpc.RpcError) as caught:
            self.run_pod("denied", annotations={prefix + "machine_type": "microvm"})
        self.assertIn("enable_annotations", str(caught.exception))

    def test_file_that_is_replaced(self):
        """By rename, as editors do: whoever starts then has the new one."""
        path = os.path.join(self.root, "conf")
        pod = self.run_pod("renamed")
        seen = []
        for text in ("old", "new"):
            with open(path + ".part", "w", encoding="ascii") as f:
                f.write(text)
            os.replace(path + ".part", path)
            seen.append(self.start(pod, text, mounts=[("/conf", path, True)]))
        self.assertEqual([self.output(c, "cat", "/conf") for c in seen], ["old", "new"])
        self.remove_pod(pod)
        os.unlink(path)

    def test_containerd_restarts(self):
        pod = self.run_pod("life")
        c = self.start(pod, "c")
        # whose input containerd itself has in hand
        shells = [self.start(pod, f"shell-{tty}", "sh", more={12: True, 14: tty}) for tty in (False, True)]
        for sig in (signal.SIGTERM, signal.SIGKILL):
            self.restart(sig)
            for ident in (c, *shells):
                self.assertEqual(self.container_status(ident)[0], RUNNING)
            self.assertEqual(self.output(c, "echo", "well"), "well\n")
            self.assertEqual(self.sandbox_state(pod), 0)
        d = self.start(pod, "d")
        self.assertEqual(self.output(d, "echo", "well"), "well\n")
        self.remove_pod(pod)

    def test_killed_engine(self):
        pod = self.run_pod("killed")
        c = self.start(pod, "c")
        os.kill(self.engine_pid(pod[0], namespace=NAMESPACE), signal.SIGKILL)
        self.assertIn(self.wait_exited(c), (137, 255))
        self.wait_until(lambda: self.sandbox_state(pod) == 1)
        self.remove_pod(pod)

    def test_killed_machine(self):
        pod = self.run_pod("lost")
        c = self.start(pod, "c")
        for pid, name in processes().items():
            if name.startswith("qemu") and pid not in self.before["processes"]:
                os.kill(pid, signal.SIGKILL)
        self.assertNotEqual(self.wait_exited(c), 0)
        self.wait_until(lambda: self.sandbox_state(pod) == 1)
        with self.assertRaises(rpc.RpcError) as caught:
            self.start(pod, "d")
        self.assertNotIn("panic", str(caught.exception))
        self.remove_pod(pod)

    def test_host_process_id(self):
        """Whose network namespace is the pod's, and whose root is the container's."""
        pod = self.run_pod("pid")
        self.start(pod, "c", "sh", "-c", "touch /here; sleep 1000")
        rows = [line.split() for line in self.ok("task", "ls", namespace=NAMESPACE).splitlines()[1:]]
        self.assertEqual(len(rows), 2)
        shared = {"net": set(), "ipc": set(), "uts": set()}
        for ident, pid, _ in rows:
            self.assertEqual(processes()[int(pid)], "kata-stand-in", ident)
            for kind, seen in shared.items():
                seen.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
        for kind, seen in shared.items():
            self.assertEqual(len(seen), 1, kind)
            self.assertNotIn(os.readlink(f"/proc/self/ns/{kind}"), seen)
        self.wait_until(lambda: any(os.path.exists(f"/proc/{row[1]}/root/here") for row in rows))
        self.remove_pod(pod)

    def test_container_that_cannot_be_made_leaves_the_pod(self):
        fifo = os.path.join(self.root, "not-shared")
        os.mkfifo(fifo)
        pod = self.run_pod("bad")
        good = self.start(pod, "good")
        with self.assertRaises(rpc.RpcError) as caught:
            self.start(pod, "bad", mounts=[("/x", fifo, False)])
        self.assertIn(fifo, str(caught.exception))
        with self.assertRaises(rpc.RpcError) as caught:
            self.start(pod, "none", "/no/such/program")
        self.assertIn("/no/such/program", str(caught.exception))
        self.assertEqual(self.output(good, "echo", "well"), "well\n")
        self.remove_pod(pod)

    def test_three_pods(self):
        pods = [self.run_pod(f"pod{n}") for n in range(3)]
        containers = [self.start(pod, "c") for pod in pods]
        boots = {self.output(c, "cat", "/proc/sys/kernel/random/boot_id") for c in containers}
        self.assertEqual(len(boots), 3)
        for pod in pods:
            self.remove_pod(pod)


class Growing(CriCase):
    """static_sandbox_resource_mgmt = false: a machine that follows its containers' limits."""

    configuration = ("[hypervisor.qemu]\ndefault_memory = 256\ndefault_maxmemory = 2100\n"
                     "[runtime]\nstatic_sandbox_resource_mgmt = false\n")

    def size(self, c):
        cpus, memory = self.output(c, "sh", "-c", "nproc; head -1 /proc/meminfo").splitlines()
        return int(cpus), int(memory.split()[1]) >> 10

    def test_containers_and_updates(self):
        pod = self.run_pod("grows")
        small = self.start(pod, "small", linux={1: {1: 100000, 2: 50000, 4: 64 << 20}})
        cpus, before = self.size(small)
        self.assertEqual(cpus, 1)
        self.assertLess(before, 256)
        large = self.start(pod, "large", linux={1: {1: 100000, 2: 150000, 4: 400 << 20}})
        cpus, memory = self.size(large)
        self.assertEqual(cpus, 2)
        self.assertGreater(memory, 464)
        self.output(large, "sh", "-c", "dd if=/dev/zero of=/dev/null bs=300M count=1 2>/dev/null")
        self.cri("UpdateContainerResources", {1: large, 2: {1: 100000, 2: 150000, 4: 900 << 20}})
        self.assertGreater(self.size(large)[1], 964)
        self.assertEqual(self.output(large, "cat", "/sys/fs/cgroup/memory.max"), f"{900 << 20}\n")
        # several that want more at the same time: it has room for all of them
        limits = [950 << 20, 130 << 20, 120 << 20]
        found = [None] * len(limits)

        def start(n):
            found[n] = self.start(pod, f"at-once-{n}", linux={1: {4: limits[n]}})

        def update(ident):
            self.cri("UpdateContainerResources", {1: ident, 2: {1: 100000, 2: 150000, 4: limits[0]}})

        threads = [threading.Thread(target=update, args=(large,)),
                   *(threading.Thread(target=start, args=(n,)) for n in (1, 2))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        self.assertGreater(self.size(large)[1], 64 + sum(limits) // (1 << 20))
        for ident, limit in zip((large, *found[1:]), limits):
            self.assertEqual(self.output(ident, "cat", "/sys/fs/cgroup/memory.max"), f"{limit}\n")
        # never above the most there may be: the limit is then not reached
        huge = self.start(pod, "huge", linux={1: {4: 30 << 30}})
        self.assertTrue(1800 < self.size(huge)[1] <= 2048, self.size(huge))
        self.remove_pod(pod)


@unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "needs two processors")
class Pinned(CriCase):
    """The host's processors that containers name, as kubelet's CPU manager does."""

    configuration = ("[hypervisor.qemu]\ndefault_vcpus = 2\n"
                     "[runtime]\nenable_vcpus_pinning = true\n")

    def virtual_processors(self):
        """Where each runs, by their names in the monitor."""
        pid, = [p for p, name in processes().items()
                if name == "qemu-system-x86_64" and p not in self.before["processes"]]
        names = {tid: self.read(f"/proc/{pid}/task/{tid}/comm") for tid in os.listdir(f"/proc/{pid}/task")}
        return [os.sched_getaffinity(int(tid)) for tid, name in sorted(names.items(), key=lambda x: x[1])
                if name.startswith("CPU ")]

    def end(self, ident):
        self.cri("StopContainer", {1: ident, 2: 0})
        self.cri("RemoveContainer", {1: ident})

    def test_cpusets(self):
        everywhere = os.sched_getaffinity(0)
        low, high = sorted(everywhere)[:2]
        pod = self.run_pod("pinned")
        self.assertEqual(self.virtual_processors(), [everywhere] * 2)
        one = self.start(pod, "one", linux={1: {6: str(high)}})
        self.assertEqual(self.virtual_processors(), [{high}] * 2)
        two = self.start(pod, "two", linux={1: {6: f"{low}-{low}"}})
        self.assertEqual(self.virtual_processors(), [{low}, {high}])
        self.cri("UpdateContainerResources", {1: two, 2: {6: str(high)}})
        self.assertEqual(self.virtual_processors(), [{high}] * 2)
        with self.assertRaises(rpc.RpcError) as caught:
            self.start(pod, "bad", linux={1: {6: "1000"}})
        self.assertIn("linux.resources.cpu.cpus", str(caught.exception))
        self.cri("UpdateContainerResources", {1: two, 2: {6: str(low)}})
        self.end(one)
        self.assertEqual(self.virtual_processors(), [{low}] * 2)
        three = self.start(pod, "anywhere")
        self.assertEqual(self.virtual_processors(), [everywhere] * 2)
        self.end(three)
        self.assertEqual(self.virtual_processors(), [{low}] * 2)
        self.remove_pod(pod)


if __name__ == "__main__":
    unittest.main(verbosity=2)
