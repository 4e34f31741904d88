# SPDX-License-Identifier: Apache-2.0
"""Debian's containerd and `ctr` drive the engine as io.containerd.kata.v2."""
import base64
import contextlib
import fcntl
import glob
import json
import os
import platform
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest

from containerd_case import IMAGE, RUNTIME, ContainerdCase, folder
from kata_case import BIN, BUSYBOX, TREE, changes, processes

KERNEL = ("Run.test_bind_without_what_is_mounted_below Run.test_block_devices Run.test_devices "
          "Run.test_exit_status_and_streams Run.test_guest_kernel Run.test_limits Run.test_mount "
          "Run.test_privileged Run.test_propagation Run.test_read_only Run.test_recursively_read_only "
          "Streams.test_run_on_a_terminal Task.test_kill_all Task.test_metrics "
          "Task.test_namespaces_of_the_process Task.test_pause_and_resume Task.test_process_list")
LAB = "full"
TIMEOUT_S = 900

# nsenter(1) cannot: what it runs is looked for in there
LIST_ENTERED = """
import ctypes, os, sys
if ctypes.CDLL(None).setns(os.open(sys.argv[1], os.O_RDONLY), 0) < 0:
    sys.exit("setns")
print(*sorted(os.listdir("/")))
"""


class Run(ContainerdCase):
    def test_guest_kernel(self):
        out = self.run_ok("x", "uname", "-a")
        self.assertIn("Linux", out)
        self.assertNotIn(platform.release(), out)

    def test_exit_status_and_streams(self):
        done = self.ctr(*self.run_args("s", "sh", "-c", "echo out; echo err >&2; exit 7",
                                       options=("--rm",)))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "out\n", "err\n"))

    def test_stdin(self):
        self.assertEqual(self.run_ok("i", "wc", "-c", stdin="12345"), "5\n")

    def test_native_snapshotter(self):
        self.assertEqual(self.run_ok("n", "cat", "/proc/1/comm",
                                     options=("--snapshotter", "native")), "cat\n")

    def test_options_reach_the_process(self):
        out = self.run_ok("o", "sh", "-c", "echo $A; pwd; ulimit -n",
                          options=("--env", "A=1 2", "--cwd", "/tmp"))
        self.assertEqual(out.split("\n")[:3], ["1 2", "/tmp", "1024"])

    def test_mount(self):
        with folder(self.root, "volume") as path:
            with open(os.path.join(path, "a"), "w", encoding="ascii") as f:
                f.write("from the host\n")
            both = f"type=bind,src={path},dst=/data,options=rbind:rw"
            self.assertEqual(self.run_ok("m", "sh", "-c", "cat /data/a; echo back >/data/b",
                                         options=("--mount", both)), "from the host\n")
            self.assertEqual(self.read(path, "b"), "back\n")
            done = self.ctr(*self.run_args(
                "m", "sh", "-c", "cat /data/a; echo x >/data/c", options=(
                    "--rm", "--mount", both.replace(":rw", ":ro"))))
            self.assertEqual(done.stdout, "from the host\n")
            self.assertIn("Read-only", done.stderr)

    def test_read_only(self):
        done = self.ctr(*self.run_args("r", "touch", "/x", options=("--rm", "--read-only")))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("Read-only", done.stderr)

    def test_limits(self):
        cgroup = "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro:nosuid"
        out = self.run_ok("l", "sh", "-c", "cd /sys/fs/cgroup; cat memory.max cpu.max; nproc",
                          options=("--memory-limit", str(128 << 20), "--cpus", "1.5",
                                   "--mount", cgroup))
        self.assertEqual(out.split(), [str(128 << 20), "150000", "100000", "2"])

    def test_program_that_does_not_exist(self):
        done = self.ctr(*self.run_args("p", "/no/such/program", options=("--rm",)))
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no/such/program", done.stderr)

    def test_devices(self):
        out = self.run_ok("d", "stat", "-c", "%t:%T", "/dev/kmsg", options=("--device", "/dev/kmsg"))
        self.assertEqual(out, "1:b\n")

    def test_block_devices(self):
        """A disk of the host is the guest's disk, not whatever has its numbers there."""
        node = self.loop_device(b"from the host\n")
        out = self.run_ok("b", "sh", "-c", f"head -1 {node}; echo from the guest >{node}; sync; "
                          f"stat -c %F {node}", options=("--device", node))
        self.assertEqual(out, "from the host\nblock special file\n")
        with open(node, "rb") as f:
            self.assertEqual(f.readline(), b"from the guest\n")

    def test_recursively_read_only(self):
        """On the host's side of the share as well, where no guest can change it."""
        with folder(self.root, "kept") as path:
            self.detached("r", options=("--mount", f"type=bind,src={path},dst=/d,options=rbind:rprivate:rro"))
            out = self.ok("task", "exec", "--exec-id", "x", "r", "sh", "-c", "touch /d/x 2>&1 || echo not")
            self.assertIn("not\n", out)
            found = []
            for pid, name in processes().items():
                if name == "virtiofsd" and pid not in self.before["processes"]:
                    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as f:
                        found += [line.split()[5].split(",") for line in f if line.split()[4].endswith("-kept")]
            self.assertTrue(found)
            for options in found:
                self.assertIn("ro", options)
            self.remove("r")

    def test_bind_without_what_is_mounted_below(self):
        with folder(self.root, "tree") as path:
            os.makedirs(os.path.join(path, "below"))
            subprocess.run(["mount", "-t", "tmpfs", "below", os.path.join(path, "below")], check=True)
            try:
                with open(os.path.join(path, "below", "hidden"), "wb"):
                    pass
                for words, seen in (("bind:ro", ""), ("rbind:ro", "hidden\n"), ("bind:rw", "")):
                    with self.subTest(words=words):
                        self.assertEqual(self.run_ok("b", "ls", "/d/below", options=(
                            "--mount", f"type=bind,src={path},dst=/d,options={words}")), seen)
            finally:
                subprocess.run(["umount", "-l", os.path.join(path, "below")], check=True)

    def test_id_like_a_volume(self):
        """Containers and volumes are beside each other on the share."""
        with folder(self.root, "data") as path:
            with open(os.path.join(path, "f"), "w", encoding="ascii") as f:
                f.write("content")
            for name in ("v0-data", "0-data"):
                self.assertEqual(self.run_ok(name, "cat", "/d/f", options=(
                    "--mount", f"type=bind,src={path},dst=/d,options=rbind:ro")), "content")

    def test_host_network_is_refused(self):
        done = self.ctr(*self.run_args("h", "true", options=("--rm", "--net-host")))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("network", done.stderr)

    def test_host_network_by_another_name_is_refused(self):
        """Docker names the host's namespace as it names any other."""
        named = os.path.join(self.root, "netns")
        with open(named, "w", encoding="ascii"):
            pass
        self.addCleanup(os.unlink, named)
        subprocess.run(["mount", "--bind", "/proc/self/ns/net", named], check=True)
        self.addCleanup(subprocess.run, ["umount", named], check=True)
        for path in (named, f"/proc/{os.getpid()}/ns/net", "/proc/self/ns/net"):
            with self.subTest(path=path):
                done = self.ctr(*self.run_args("h", "true", options=(
                    "--rm", "--with-ns", f"network:{path}")))
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(f"'{path}' is the host's own", done.stderr)

    def cgroups(self, pid):
        """{controllers: path} of a process of the host."""
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
            return {line.split(":")[1]: line.strip().split(":", 2)[2] for line in f}

    def test_host_cgroup(self):
        """The machine, its engine and helpers are where the caller wants them counted."""
        for kill in (False, True):
            self.detached("where")
            engine = self.engine_pid("where")
            found = {name: self.cgroups(pid) for pid, name in processes().items()}
            self.assertIn("qemu-system-x86_64", found)
            self.assertIn("virtiofsd", found)
            version_1 = "memory" in self.cgroups(engine)
            for name, paths in found.items():
                self.assertEqual(paths["memory" if version_1 else ""], "/default/where", name)
            if kill:
                os.kill(engine, signal.SIGKILL)
                self.wait_until(lambda: self.status("where") != "RUNNING")
                self.ctr("task", "rm", "where")
                self.ok("container", "rm", "where")
            else:
                self.remove("where")
            self.wait_until(lambda: not glob.glob("/sys/fs/cgroup/**/default/where", recursive=True))

    def test_host_cgroup_is_left_alone(self):
        """sandbox_cgroup_only = false: all of it stays where the daemon has it, and nothing is made."""
        path = os.path.join(self.root, "stay.toml")
        with open(path, "w", encoding="ascii") as f:
            f.write("[runtime]\nsandbox_cgroup_only = false\n")
        self.detached("stays", options=("--runtime-config-path", path))
        here = self.cgroups(os.getpid())
        for pid, name in processes().items():
            if pid not in self.before["processes"]:
                self.assertEqual(self.cgroups(pid), here, name)
        self.assertEqual(glob.glob("/sys/fs/cgroup/**/default/stays", recursive=True), [])
        self.remove("stays")

    def test_small_host_cgroup(self):
        """One that may use less than the machine: said in the log, with what is missing."""
        version_1 = "memory" in self.cgroups(os.getpid())
        parent = f"/sys/fs/cgroup/{'memory/' if version_1 else ''}kata-small-{os.getpid()}"
        os.mkdir(parent)
        self.addCleanup(lambda: [os.rmdir(path) for path in glob.glob(f"/sys/fs/cgroup/**/{os.path.basename(parent)}",
                                                                      recursive=True)])
        if not version_1:
            with open("/sys/fs/cgroup/cgroup.subtree_control", "w", encoding="ascii") as f:
                f.write("+memory")
        with open(f"{parent}/memory.{'limit_in_bytes' if version_1 else 'max'}", "w", encoding="ascii") as f:
            f.write(str(1 << 30))
        start = len(self.daemon.log())
        self.run_ok("small", "true", options=("--cgroup", f"/kata-small-{os.getpid()}/c", "--memory-limit", str(2 << 30)))
        found = re.search(r"cgroup may use 1024 MiB of the host's memory, its machine with its monitor up to (\d+):.*"
                          r"should be (\d+) MiB more", self.daemon.log()[start:])
        self.assertTrue(found, self.daemon.log_tail())
        self.assertEqual(int(found[1]) - int(found[2]), 1024)
        start = len(self.daemon.log())
        self.run_ok("small", "true", options=("--cgroup", f"/kata-small-{os.getpid()}/c", "--memory-limit", str(64 << 20)))
        self.assertNotIn("may use", self.daemon.log()[start:])

    def test_propagation(self):
        """A mount that the host makes later is seen, except in a private volume; the reverse never."""
        for kind, seen in (("rslave", True), ("rshared", True), ("rprivate", False)):
            with self.subTest(kind=kind), folder(self.root, kind) as path:
                os.makedirs(os.path.join(path, "late"))
                for words in (("--bind", path, path), ("--make-shared", path)):  # as systemd has all of a host
                    subprocess.run(["mount", *words], check=True)
                self.addCleanup(subprocess.run, ["umount", "-l", path], capture_output=True, check=False)
                self.detached("p", options=("--mount", f"type=bind,src={path},dst=/v,options=rbind:{kind}:rw",
                                            "--privileged"))
                subprocess.run(["mount", "-t", "tmpfs", "late", f"{path}/late"], check=True)
                with open(f"{path}/late/file", "w", encoding="ascii") as f:
                    f.write("late")
                out = self.ok("task", "exec", "--exec-id", "e", "p", "sh", "-c", "cat /v/late/file 2>/dev/null;"
                              "mkdir -p /v/own; mount -t tmpfs own /v/own && touch /v/own/file; true")
                self.assertEqual(out, "late" if seen else "")
                self.assertEqual(os.listdir(f"{path}/own"), [])
                subprocess.run(["umount", "-l", f"{path}/late", path], check=True)
                self.remove("p")

    def test_annotations_of_the_configuration(self):
        prefix = "io.katacontainers.config.hypervisor."
        out = self.run_ok("a", "sh", "-c", "nproc; cat /proc/cmdline; head -1 /proc/meminfo", options=(
            "--annotation", prefix + "default_vcpus=2", "--annotation",
            prefix + "default_memory=333", "--annotation", prefix + "kernel_params=said.by=us"))
        cpus, cmdline, memory = out.splitlines()
        self.assertEqual(cpus, "2")
        self.assertIn(" said.by=us", cmdline)
        self.assertTrue(250 << 10 < int(memory.split()[1]) < 340 << 10, memory)
        for value, words in (("machine_type=microvm", "enable_annotations"),
                             ("default_memroy=1", "default_memory")):
            done = self.ctr(*self.run_args("a", "true", options=(
                "--rm", "--annotation", prefix + value)))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(words, done.stderr)

    def test_privileged(self):
        out = self.run_ok("p", "sh", "-c", "grep CapEff /proc/self/status; mount -t tmpfs t /tmp"
                          " && echo mounted", options=("--privileged",))
        self.assertIn("mounted", out)


class Contract(ContainerdCase):
    """Start, delete, and what happens when either side ends."""

    def test_files_of_the_bundle(self):
        self.detached("f")
        self.assertEqual(self.read(self.bundle("f"), "address"), "unix:///run/kata/f/shim.sock")
        self.assertEqual(os.stat("/run/kata/f/shim.sock").st_mode & 0o777, 0o600)
        self.assertEqual(self.read("/run/kata/f/owner").split("\n")[:2],
                         ["default", self.daemon.socket])
        pid = self.engine_pid("f")
        self.assertEqual(os.path.basename(os.readlink(f"/proc/{pid}/exe")),
                         "containerd-shim-kata-v2")
        self.remove("f")

    def test_memory_killer_and_core_scheduling(self):
        """As containerd's own shims: a score one above the daemon's, a cookie on request."""
        with open(f"/proc/{self.daemon.process.pid}/oom_score_adj", encoding="ascii") as f:
            score = int(f.read())
        self.detached("o")
        self.assertEqual(int(self.read("/proc", str(self.engine_pid("o")), "oom_score_adj")),
                         score + 1)
        self.remove("o")
        with folder(self.root, "core") as path:
            shutil.copy(os.path.join(TREE, "tests/corpus/oci/ctr-0.json"),
                        os.path.join(path, "config.json"))
            args = ("-namespace", "n", "-address", "/c", "-id", "core")
            done = self.shim(*args, "start", cwd=path, env={"SCHED_CORE": "1"})
            if done.returncode:  # not every kernel and processor has it
                self.assertIn("core scheduling", done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1)
            else:
                self.assertTrue(done.stdout.startswith("unix://"))
            self.assertEqual(self.shim(*args, "-bundle", path, "delete").returncode, 0)

    def test_log_has_the_sandbox_in_every_line(self):
        start = len(self.daemon.log())
        self.run_ok("logged", "true")
        ours = [line for line in self.daemon.log()[start:].splitlines() if 'source="shim"' in line]
        self.assertGreater(len(ours), 5)
        for line in ours:
            self.assertIn('sandbox="logged"', line)
        self.assertTrue(any('container="logged"' in line or 'container=\\"logged' in line
                            for line in ours), ours)

    def test_containerd_restarts(self):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=sig):
                self.detached("r", "sh", "-c", "trap 'exit 4' USR1; while :; do sleep 0.1; done")
                pid = self.engine_pid("r")
                self.daemon.stop(sig)
                self.daemon.start()
                self.assertEqual(self.status("r"), "RUNNING")
                self.assertEqual(self.engine_pid("r"), pid)
                self.assertEqual(self.ok("task", "exec", "--exec-id", "1", "r", "echo", "well"),
                                 "well\n")
                waiting = self.background("task", "attach", "r")
                time.sleep(0.5)
                self.ok("task", "kill", "-s", "USR1", "r")
                waiting.communicate(timeout=20)
                self.assertEqual(waiting.returncode, 4)
                self.ctr("task", "rm", "r")
                self.ok("container", "rm", "r")

    def test_exit_while_containerd_is_away(self):
        self.detached("w", "sleep", "2")
        self.daemon.stop(signal.SIGKILL)
        time.sleep(3)
        self.daemon.start()
        # from 1.7 on, containerd deletes a task without processes when it starts, whosever it is
        if self.status("w") is not None:
            self.assertEqual(self.status("w"), "STOPPED")
            self.ok("task", "rm", "w")
        self.wait_until(lambda: not changes(self.before, self.root))
        self.ok("container", "rm", "w")

    def test_killed_engine(self):
        """containerd cleans up with `delete`; the same id runs again at once."""
        for _ in range(2):
            self.detached("k")
            engine = self.engine_pid("k")
            self.assertEqual(self.read(f"/proc/{engine}/comm"), "containerd-shim\n")
            with self.events() as events:
                os.kill(engine, signal.SIGKILL)
                self.wait_until(lambda: self.status("k") is None)
                events.wait_for("/tasks/delete")
            self.assertEqual(events.topics(), ["/tasks/exit", "/tasks/delete"])
            self.assertEqual(events.all[0][1]["exit_status"], 137)
            self.assertFalse(os.path.exists("/run/kata/k"))
            self.ok("container", "rm", "k")

    def check_killed(self, program, status):
        """The task ends and is reported with its process id; the same id runs again."""
        for _ in range(2):
            self.detached("v")
            found = [pid for pid, name in processes().items()
                     if name == program and pid not in self.before["processes"]]
            if not found:
                self.remove("v")
                self.skipTest(f"no {program} here")
            pid = int(self.ok("task", "ls").split()[4])
            with self.events() as events:
                for one in found:
                    with contextlib.suppress(ProcessLookupError):  # one of a pair ends the other
                        os.kill(one, signal.SIGKILL)
                events.wait_for("/tasks/exit")
                self.wait_until(lambda: self.status("v") == "STOPPED")
                self.ctr("task", "rm", "v")
                events.wait_for("/tasks/delete")
            self.assertEqual([(topic, event["container_id"], event["id"], event.get("pid"),
                               event["exit_status"]) for topic, event in events.all],
                             [("/tasks/exit", "v", "v", pid, status),
                              ("/tasks/delete", "v", "v", pid, status)])
            self.ok("container", "rm", "v")
            self.wait_until(lambda: not changes(self.before, self.root))

    def test_killed_file_server(self):
        """No machine goes on without its files."""
        self.check_killed("virtiofsd", 255)

    def test_killed_stand_in(self):
        """Who ends what the host knows as the container's process means the container."""
        self.check_killed("kata-stand-in", 137)

    def test_start_after_a_killed_engine_answers_cleanly(self):
        """What start sweeps is logged, not printed: containerd reads all that it prints."""
        self.detached("dead")
        self.daemon.stop(signal.SIGKILL)
        os.kill(self.engine_pid("dead"), signal.SIGKILL)
        self.daemon.start()
        self.run_ok("next", "true")
        self.wait_until(lambda: self.status("dead") is None)
        self.ok("container", "rm", "dead")

    def test_delete_ends_a_living_engine(self):
        self.detached("l")
        pid = self.engine_pid("l")
        done = subprocess.run(
            [os.path.join(BIN, "containerd-shim-kata-v2"), "-namespace", "default", "-address",
             self.daemon.socket, "-publish-binary", "/bin/true", "-id", "l", "-bundle",
             self.bundle("l"), "delete"], capture_output=True, timeout=30, check=False,
            stdin=subprocess.DEVNULL)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"\x10\x89\x01", done.stdout)  # exit_status 137
        self.assertNotIn(pid, processes())
        self.assertFalse(os.path.exists("/run/kata/l"))
        self.wait_until(lambda: self.status("l") is None)
        self.ok("container", "rm", "l")

    def test_one_id_in_two_namespaces(self):
        self.detached("same", "sh", "-c", "echo first >/who; sleep 1000")
        self.ok("image", "import", BUSYBOX, namespace="other")
        self.detached("same", "sh", "-c", "echo second >/who; sleep 1000", namespace="other")
        time.sleep(0.5)
        for namespace, text in (("default", "first\n"), ("other", "second\n")):
            self.assertEqual(self.ok("task", "exec", "--exec-id", "1", "same", "cat", "/who",
                                     namespace=namespace), text)
        self.remove("same")
        self.assertEqual(self.status("same", namespace="other"), "RUNNING")
        self.detached("same", "sleep", "1001")
        self.remove("same", namespace="other")
        self.assertEqual(self.status("same"), "RUNNING")
        self.remove("same")

    def test_configuration_named_by_the_client(self):
        path = os.path.join(self.root, "configuration.toml")
        with open(path, "w", encoding="ascii") as f:
            f.write("[hypervisor.qemu]\ndefault_vcpus = 2\n")
        self.assertEqual(self.run_ok("c", "nproc", options=("--runtime-config-path", path)), "2\n")
        done = self.ctr(*self.run_args("c", "true", options=(
            "--rm", "--runtime-config-path", "/nowhere/c.toml")))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/nowhere/c.toml", done.stderr)

    def shim(self, *args, cwd="/", stdin="", env=None):
        return subprocess.run([os.path.join(BIN, "containerd-shim-kata-v2"), *args], cwd=cwd,
                              capture_output=True, timeout=30, check=False, text=True,
                              errors="replace", env={**os.environ, **(env or {})},
                              input=stdin)

    def test_answer_depends_on_the_parameters(self):
        """containerd 2.3 says who it is on standard input; older ones put options there."""
        new = "\x0a\x01j\x12\x01n\x22\x052.3.0"
        for stdin, v3 in (("", False), ("\x0a\x05a.b.c\x12\x01x", False), (new, True)):
            with self.subTest(stdin=stdin), folder(self.root, "j") as path:
                shutil.copy(os.path.join(TREE, "tests/corpus/oci/ctr-0.json"),
                            os.path.join(path, "config.json"))
                args = ("-namespace", "n", "-address", "/c", "-publish-binary", "/bin/true",
                        "-id", "j")
                done = self.shim(*args, "start", cwd=path, stdin=stdin)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                address = "unix:///run/kata/j/shim.sock"
                if v3:
                    answer = json.loads(done.stdout)
                    (extension,) = answer.pop("extensions")
                    self.assertEqual(answer, {
                        "version": 3, "address": address, "protocol": "ttrpc"})
                    self.assertEqual(extension["value"]["type_url"],
                                     "type.googleapis.com/containerd.types.MountCapabilities")
                    self.assertEqual(base64.b64decode(extension["value"]["value"]),
                                     b"\x0a\x05erofs\x12\x06format\x12\x05mkdir")
                else:
                    self.assertEqual(done.stdout, address)
                self.assertEqual(self.shim(*args, "-bundle", path, "delete").returncode, 0)

    def test_start_that_fails_at_its_end(self):
        """Nobody knows of its engine: it is gone, and the next attempt finds nothing in its way."""
        args = ("-namespace", "n", "-address", "/c", "-publish-binary", "/bin/true", "-id", "late")
        with folder(self.root, "late") as path:
            shutil.copy(os.path.join(TREE, "tests/corpus/oci/ctr-0.json"), os.path.join(path, "config.json"))
            os.mkdir(os.path.join(path, "address"))  # which is to be a file
            done = self.shim(*args, "start", cwd=path)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("address", done.stderr)
            self.assertEqual(sorted(os.listdir(path)), ["address", "config.json", "shim.log"])
            os.rmdir(os.path.join(path, "address"))
            done = self.shim(*args, "start", cwd=path)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(self.shim(*args, "-bundle", path, "delete").returncode, 0)

    def test_failures_are_one_line(self):
        for args, word in ((("-id", "x", "start"), "namespace"),
                           (("-namespace", "n", "start"), "-id"),
                           (("-namespace", "n", "-id", "a/b", "start"), "a/b"),
                           (("-namespace", "n", "-id", "i" * 300, "start"), "iii"),
                           (("-namespace", "n", "-id", "x" * 120, "start"), "too long"),
                           (("-namespace", "n", "-id", "x", "-bundle", "/nowhere", "delete"),
                            "/nowhere"),
                           (("-nonsense", "start"), "-nonsense"), (("begin",), "begin")):
            with self.subTest(args=args):
                with folder(self.root, "empty") as path:
                    done = self.shim(*args, cwd=path)
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(done.stdout, "")
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn(word, done.stderr)

    def test_version_and_info(self):
        self.assertRegex(self.shim("--version").stdout,
                         r"^Kata Containers containerd shim \(C\): id: io\.containerd\.kata\.v2, "
                         r"version: \S+, commit: \S+\n$")
        said = self.shim("-info").stdout
        self.assertIn(RUNTIME, said)
        # what kubelet learns by it: an Any of JSON
        self.assertIn("opencontainers/runtime-spec/1/features/Features", said)
        features = json.JSONDecoder().raw_decode(said, said.index("{"))[0]
        self.assertIn("rro", features["mountOptions"])
        self.assertIn("user", features["linux"]["namespaces"])
        self.assertIs(features["linux"]["mountExtensions"]["idmap"]["enabled"], False)
        self.assertIn("CAP_SYS_ADMIN", features["linux"]["capabilities"])


class Task(ContainerdCase):
    def exec(self, name, *command, **kw):
        self.execs = getattr(self, "execs", 0) + 1
        return self.ctr("task", "exec", "--exec-id", f"x{self.execs}", name, *command, **kw)

    def exec_ok(self, name, *command, **kw):
        done = self.exec(name, *command, **kw)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_exec(self):
        self.detached("e")
        self.assertEqual(self.exec_ok("e", "cat", "/proc/1/comm"), "sleep\n")
        done = self.exec("e", "sh", "-c", "echo o; echo e >&2; exit 5")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (5, "o\n", "e\n"))
        self.assertEqual(self.exec_ok("e", "cat", stdin="abc"), "abc")
        done = self.exec("e", "nothing")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("nothing", done.stderr)
        done = self.ctr("task", "exec", "--cwd", "/tmp", "--exec-id", "1", "e", "pwd")
        self.assertEqual(done.stdout, "/tmp\n")
        self.remove("e")

    def test_pause_and_resume(self):
        self.detached("p")
        self.assertEqual(self.status("p"), "RUNNING")
        self.ok("task", "pause", "p")
        self.assertEqual(self.status("p"), "PAUSED")
        done = self.exec("p", "true")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("paused", done.stderr)
        self.assertNotEqual(self.ctr("task", "pause", "p").returncode, 0)
        self.ok("task", "resume", "p")
        self.assertEqual(self.status("p"), "RUNNING")
        self.exec_ok("p", "true")
        self.remove("p")

    def test_kill(self):
        self.detached("k", "sh", "-c", "trap 'exit 3' USR1; touch /ready; "
                      "while :; do sleep 0.1; done")
        self.wait_until(lambda: self.exec("k", "test", "-e", "/ready").returncode == 0)
        with self.events() as events:
            self.ok("task", "kill", "-s", "USR1", "k")
            events.wait_for("/tasks/exit")
        self.assertEqual(events.all[0][1]["exit_status"], 3)
        done = self.ctr("task", "kill", "-s", "KILL", "k")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("already finished", done.stderr)
        self.ctr("task", "rm", "k")
        self.ok("container", "rm", "k")

    def test_kill_all(self):
        """Every process gets the signal, not the first alone."""
        self.detached("a", "sh", "-c", "trap 'echo first >>/log' USR1; "
                      "sh -c 'trap \"echo second >>/log\" USR1; touch /ready; "
                      "while :; do sleep 0.1; done' & while :; do sleep 0.1; done")
        self.wait_until(lambda: self.exec("a", "test", "-e", "/ready").returncode == 0)
        self.ok("task", "kill", "-a", "-s", "USR1", "a")
        self.wait_until(lambda: sorted(self.exec("a", "cat", "/log").stdout.split())
                        == ["first", "second"])
        self.remove("a")

    def test_kill_an_exec(self):
        self.detached("k")
        running = self.background("task", "exec", "--exec-id", "long", "k", "sh", "-c",
                                  "echo ready; exec sleep 1000")
        self.assertEqual(running.stdout.readline(), "ready\n")
        self.ok("task", "kill", "--exec-id", "long", "-s", "KILL", "k")
        running.communicate(timeout=20)
        self.assertEqual(running.returncode, 137)
        self.assertEqual(self.status("k"), "RUNNING")
        self.remove("k")

    def test_process_list(self):
        """The stand-in's number, whose process has the container's root; the guest's in INFO."""
        self.detached("l", "sh", "-c", "touch /here; sleep 1000 & sleep 1001 & wait")
        self.wait_until(lambda: self.exec("l", "test", "-e", "/here").returncode == 0)
        rows = self.ok("task", "ps", "l").splitlines()[1:]
        self.assertEqual(len(rows), 1, rows)
        pid = rows[0].split()[0]
        self.assertEqual(processes()[int(pid)], "kata-stand-in")
        self.assertTrue(os.path.exists(f"/proc/{pid}/root/here"))
        self.assertEqual(self.guest_processes("l"), 3, rows)
        self.assertEqual(self.ok("task", "ls").split()[4], pid)
        self.remove("l")

    def test_namespaces_of_the_process(self):
        """Who enters them sees the container and not the host, and runs nothing of a guest's."""
        self.detached("n", "sh", "-c", "hostname > /name; sleep 1000")
        pid = self.ok("task", "ls").split()[4]
        said = f"/proc/{pid}/root/name"
        self.wait_until(lambda: os.path.exists(said) and os.path.getsize(said))
        for kind in ("mnt", "uts", "ipc", "net", "cgroup"):
            self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/{kind}"), os.readlink(f"/proc/self/ns/{kind}"), kind)
        with open(said, encoding="ascii") as f:
            name = f.read()
        self.assertEqual(self.entered(pid, "-u", "hostname").stdout, name)
        listed = subprocess.run(["python3", "-c", LIST_ENTERED, f"/proc/{pid}/ns/mnt"],
                                capture_output=True, text=True, check=True, timeout=20).stdout
        self.assertEqual(listed.split(), sorted(os.listdir(f"/proc/{pid}/root")))
        self.assertIn("Permission denied", self.entered(pid, "-m", "/bin/sh", "-c", "true").stderr)
        self.remove("n")

    @staticmethod
    def entered(pid, *words):
        return subprocess.run(["nsenter", "-t", pid, *words], capture_output=True, text=True, check=False, timeout=20)

    def test_namespaces_to_join(self):
        """Of another machine, or no such thing: refused by name. The host's: noted."""
        fifo = os.path.join(self.root, "no-namespace")
        os.mkfifo(fifo)
        self.addCleanup(os.unlink, fifo)
        self.detached("other")
        pid = self.ok("task", "ls").split()[4]
        for kind, path, words in (
                ("ipc", f"/proc/{pid}/ns/ipc", "only the namespace of the same pod can be joined"),
                ("uts", f"/proc/{pid}/ns/uts", "only the namespace of the same pod can be joined"),
                ("uts", f"/proc/{pid}/ns/ipc", "is no namespace of type 'uts'"),
                ("ipc", "/proc/self/ns/nothing", "'/proc/self/ns/nothing': No such file or directory"),
                ("ipc", fifo, "is no namespace of type 'ipc'"),
                ("ipc", "/etc/passwd", "'/etc/passwd' is no namespace of type 'ipc'")):
            with self.subTest(kind=kind, path=path):
                done = self.ctr(*self.run_args("joins", "true", options=("--rm", "--with-ns", f"{kind}:{path}")))
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(words, done.stderr)
        start = len(self.daemon.log())
        self.run_ok("joins", "true", options=("--with-ns", "uts:/proc/1/ns/uts"))
        self.assertIn("the host's name cannot be changed from a guest", self.daemon.log()[start:])
        self.remove("other")

    def test_pinned_namespaces(self):
        """Made for a pod before it, as CRI-O does, which leaves their names to the runtime."""
        pinned = {kind: os.path.join(self.root, f"pinned-{kind}") for kind in ("ipc", "uts")}
        for path in pinned.values():
            with open(path, "xb"):
                self.addCleanup(os.unlink, path)
        subprocess.run(["unshare", *(f"--{kind}={path}" for kind, path in pinned.items()), "true"], check=True)
        for path in pinned.values():
            self.addCleanup(subprocess.run, ["umount", "-q", "-l", path], check=False)
        self.detached("pinned", options=[word for kind, path in pinned.items()
                                         for word in ("--with-ns", f"{kind}:{path}")])
        pid = self.ok("task", "ls").split()[4]
        for kind, path in pinned.items():
            self.assertEqual(os.stat(path).st_ino, os.stat(f"/proc/{pid}/ns/{kind}").st_ino, kind)
        self.assertEqual(self.entered(pid, "-u", "hostname").stdout, self.exec_ok("pinned", "hostname"))
        for path in pinned.values():  # nobody keeps it busy
            subprocess.run(["umount", path], check=True)
        self.remove("pinned")

    def test_attach(self):
        """Input and output; whoever attaches may be killed and another come."""
        self.detached("a", "sh", "-c", "while read x; do echo got $x; done")
        attached = self.background("task", "attach", "a", stdin=subprocess.PIPE)
        attached.stdin.write("one\n")
        attached.stdin.flush()
        self.assertEqual(attached.stdout.readline(), "got one\n")
        attached.kill()
        attached.communicate(timeout=20)
        again = self.background("task", "attach", "a", stdin=subprocess.PIPE)
        again.stdin.write("two\n")
        again.stdin.flush()
        self.assertEqual(again.stdout.readline(), "got two\n")
        self.ok("task", "kill", "-s", "KILL", "a")
        again.communicate(timeout=20)
        self.assertEqual(again.returncode, 137)
        self.ctr("task", "rm", "a")
        self.ok("container", "rm", "a")

    def test_metrics(self):
        self.detached("m", options=("--memory-limit", str(96 << 20)))
        self.exec_ok("m", "sh", "-c", "head -c 20m /dev/zero >/dev/shm/x; i=0; "
                     "while [ $i -lt 2000 ]; do i=$((i+1)); done")
        rows = dict(line.split()[:2] for line in self.ok("task", "metrics", "m").splitlines()
                    if len(line.split()) >= 2)
        got = json.loads(self.ok("task", "metrics", "--format", "json", "m"))
        if "memory.usage_in_bytes" in rows:  # control groups version 1
            self.assertEqual(int(rows["memory.limit_in_bytes"]), 96 << 20)
            self.assertGreater(int(rows["memory.usage_in_bytes"]), 20 << 20)
            self.assertGreater(int(rows["cpuacct.usage"]), 1000000)
            self.assertEqual(int(rows["pids.current"]), 1)
            self.assertGreaterEqual(got["memory"]["cache"], 20 << 20)
        else:
            self.assertEqual(int(rows["memory.usage_limit"]), 96 << 20)
            self.assertGreater(int(rows["memory.usage"]), 20 << 20)
            self.assertGreater(int(rows["cpu.usage_usec"]), 1000)
            self.assertEqual(int(rows["pids.current"]), 1)
            self.assertGreaterEqual(got["memory"]["shmem"], 20 << 20)
        self.remove("m")

    def test_delete(self):
        self.detached("d")
        done = self.ctr("task", "rm", "d")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("running", done.stderr)
        self.ok("task", "rm", "-f", "d")
        self.ok("container", "rm", "d")

    def test_start_without_run(self):
        self.ok("container", "create", "--runtime", RUNTIME, IMAGE, "c", "sleep", "1000")
        self.ok("task", "start", "-d", "c")
        self.assertEqual(self.exec_ok("c", "cat", "/proc/1/comm"), "sleep\n")
        self.remove("c")

    def test_checkpoint_is_refused(self):
        self.detached("c")
        done = self.ctr("task", "checkpoint", "c")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("checkpoint", done.stderr)
        self.assertEqual(self.status("c"), "RUNNING")
        self.remove("c")


class AllEvents(ContainerdCase):
    def test_nine_in_order_with_every_field(self):
        with self.events() as events:
            self.detached("n", options=("--memory-limit", str(64 << 20)))
            pid = int(self.ok("task", "ls").split()[4])
            self.ok("task", "exec", "--exec-id", "x", "n", "true")
            self.ok("task", "pause", "n")
            self.ok("task", "resume", "n")
            self.ctr("task", "exec", "--exec-id", "hog", "n", "tail", "/dev/zero")
            events.wait_for("/tasks/oom")
            self.ok("task", "kill", "-s", "KILL", "n")
            events.wait_for("/tasks/exit", 3)
            self.ctr("task", "rm", "n")
            events.wait_for("/tasks/delete")
        self.ok("container", "rm", "n")
        got = [item for item in events.all if item[0] != "/tasks/oom"]
        self.assertEqual([topic for topic, _ in got], [
            "/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started",
            "/tasks/exit", "/tasks/paused", "/tasks/resumed", "/tasks/exec-added",
            "/tasks/exec-started", "/tasks/exit", "/tasks/exit", "/tasks/delete"])
        create, start, added, started, exit_x, paused, resumed, _, _, exit_hog, exit_n, delete = [
            event for _, event in got]
        self.assertEqual((create["container_id"], create["pid"]), ("n", pid))
        self.assertEqual(create["bundle"], self.bundle("n"))
        self.assertEqual(create["rootfs"][0]["type"], "overlay")
        self.assertTrue(create["io"]["stdout"].endswith("-stdout"))
        self.assertEqual(start, {"container_id": "n", "pid": pid})
        self.assertEqual(added, {"container_id": "n", "exec_id": "x"})
        self.assertEqual(started, {"container_id": "n", "exec_id": "x", "pid": pid})
        for event, ident, status in ((exit_x, "x", None), (exit_hog, "hog", 137),
                                     (exit_n, "n", 137)):
            self.assertEqual((event["container_id"], event["id"], event["pid"]), ("n", ident, pid))
            self.assertEqual(event.get("exit_status"), status)
            self.assertTrue(event["exited_at"])  # text, from containerd 1.7 on two numbers
        self.assertEqual((paused, resumed), ({"container_id": "n"}, {"container_id": "n"}))
        self.assertEqual((delete["container_id"], delete["exit_status"], delete["id"], delete["pid"]),
                         ("n", 137, "n", pid))
        self.assertEqual(delete["exited_at"], exit_n["exited_at"])

    def test_execs_end_before_their_container(self):
        self.detached("o")
        for name in ("one", "two", "three"):
            running = self.background("task", "exec", "--exec-id", name, "o", "sh", "-c",
                                      "echo ready; exec sleep 1000")
            self.assertEqual(running.stdout.readline(), "ready\n")
        with self.events() as events:
            self.ok("task", "kill", "-s", "KILL", "o")
            events.wait_for("/tasks/exit", 4)
        self.assertEqual(sorted(e["id"] for _, e in events.all[:3]), ["one", "three", "two"])
        self.assertEqual(events.all[3][1]["id"], "o")
        self.ctr("task", "rm", "o")
        self.ok("container", "rm", "o")


class Streams(ContainerdCase):
    """Terminals, files, loggers."""

    def terminal(self, *args):
        """`ctr ARGS` on a terminal; returns (process, master)."""
        master, slave = pty.openpty()
        process = self.background(*args, stdin=slave, stdout=slave, stderr=slave, text=False)
        os.close(slave)
        self.addCleanup(os.close, master)
        return process, master

    def read_until(self, fd, text, seconds=30):
        """What comes up to the text; what came with it and is behind it the next call begins with."""
        ahead = self.__dict__.setdefault("ahead", {})
        got, end = ahead.pop(fd, b""), time.monotonic() + seconds
        while text not in got:
            ready = select.select([fd], [], [], max(0, end - time.monotonic()))[0]
            self.assertTrue(ready, f"{text} does not come, only {got}")
            try:
                got += os.read(fd, 4096)
            except OSError:
                self.fail(f"{text} did not come, only {got}")
        got, _, ahead[fd] = got.partition(text)
        return got + text

    def test_run_on_a_terminal(self):
        process, fd = self.terminal(*self.run_args("t", "sh", options=("--rm", "-t")))
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        self.read_until(fd, b"# ")
        process.send_signal(signal.SIGWINCH)
        os.write(fd, b"tty; sleep 1; stty size\n")
        got = self.read_until(fd, b"33 101")
        self.assertIn(b"/dev/pts/0", got)
        os.write(fd, b"exit 9\n")
        self.assertEqual(process.wait(30), 9)

    def test_exec_on_a_terminal(self):
        self.detached("t")
        process, fd = self.terminal("task", "exec", "-t", "--exec-id", "x", "t", "sh")
        self.read_until(fd, b"# ")
        os.write(fd, b"tty\n")
        self.read_until(fd, b"\r\n/dev/pts/")
        self.read_until(fd, b"# ")
        os.write(fd, b"\x04")  # end of input
        self.assertEqual(process.wait(30), 0)
        self.remove("t")

    def test_file(self):
        path = os.path.join(self.root, "new", "a name", "out")
        self.addCleanup(shutil.rmtree, os.path.join(self.root, "new"))
        self.detached("f", "sh", "-c", "echo out; echo err >&2", options=(
            "--log-uri", f"file://{path.replace(' ', '%20')}?of=nothing"))
        self.wait_stopped("f")
        self.ctr("task", "rm", "f")
        self.ok("container", "rm", "f")
        self.assertEqual(sorted(self.read(path).split()), ["err", "out"])
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)  # for who ships logs

    LOGGER = """#!/bin/sh
echo "$0 $* $CONTAINER_ID $CONTAINER_NAMESPACE" >{out}
exec 5>&-
cat <&3 >>{out}
cat <&4 >>{out}
echo end >>{out}
"""

    def logger(self, text):
        path = os.path.join(self.root, "logger")
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(path, 0o755)
        return path

    def test_logger(self):
        out = os.path.join(self.root, "logged")
        path = self.logger(self.LOGGER.format(out=out))
        self.detached("b", "sh", "-c", "echo out; echo err >&2", options=(
            "--log-uri", f"binary://{path}?key=a%20b&only"))
        self.wait_stopped("b")
        self.ctr("task", "rm", "b")
        self.ok("container", "rm", "b")
        self.assertEqual(self.read(out), f"{path} key a b only b default\nout\nerr\nend\n")

    def test_logger_that_cannot_run(self):
        for text, words in (("#!/bin/sh\nexec /nowhere/program\n", None), (None, "/nowhere")):
            path = self.logger(text) if text else "/nowhere/logger"
            done = self.ctr(*self.run_args("b", "true", options=(
                "-d", "--log-uri", f"binary://{path}")))
            if words:
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(words, done.stderr)
            else:
                self.wait_stopped("b")
                self.ctr("task", "rm", "b")
            self.ctr("container", "rm", "b")

    def test_much_output(self):
        done = self.ctr(*self.run_args("o", "head", "-c", str(32 << 20), "/dev/zero",
                                       options=("--rm",)), text=False)
        self.assertEqual((done.returncode, len(done.stdout)), (0, 32 << 20))

    def test_reader_that_stops_holds_up_its_stream_only(self):
        running = self.background(*self.run_args(
            "s", "sh", "-c", "head -c 8000000 /dev/zero & echo here >&2; wait; echo end >&2",
            options=("--rm",)))
        while "DEPRECATION" in (line := running.stderr.readline()):
            pass
        self.assertEqual(line, "here\n")
        time.sleep(1)
        self.assertEqual(self.ok("task", "exec", "--exec-id", "1", "s", "echo", "well"), "well\n")
        out, err = running.communicate(timeout=60)
        self.assertEqual((len(out), err), (8000000, "end\n"))

    def test_slow_reader(self):
        """It is told of the end once the output is on its way, as of a process of the host's."""
        running = self.background(*self.run_args("s", "head", "-c", "1200000", "/dev/zero",
                                                 options=("--rm",)), text=False)
        time.sleep(13)
        self.assertEqual(self.status("s"), "RUNNING")
        out, _ = running.communicate(timeout=60)
        self.assertEqual((running.returncode, len(out)), (0, 1200000))

    def test_kill_of_a_writer_that_nobody_reads(self):
        """One SIGKILL ends it, and the wait for it: clients send no second one."""
        running = self.background(*self.run_args("s", "yes"), text=False)
        self.wait_until(lambda: self.status("s") == "RUNNING")
        execs = self.background("task", "exec", "--exec-id", "1", "s", "yes", text=False)

        def both_run():
            self.assertIsNone(execs.poll(), "ctr task exec has ended")
            return self.guest_processes("s") == 2
        self.wait_until(both_run)
        time.sleep(2)
        self.ok("task", "kill", "-s", "KILL", "s")
        self.wait_until(lambda: self.status("s") != "RUNNING")
        for each in (running, execs):
            each.kill()
            each.communicate()
        self.remove("s")

    def test_reader_that_never_reads(self):
        """SIGKILL ends the wait for it."""
        running = self.background(*self.run_args("s", "head", "-c", "1200000", "/dev/zero"), text=False)
        self.wait_until(lambda: self.status("s") == "RUNNING")
        time.sleep(2)
        self.assertEqual(self.status("s"), "RUNNING")
        self.ok("task", "kill", "-s", "KILL", "s")
        self.wait_until(lambda: self.status("s") != "RUNNING")
        running.kill()
        running.wait()
        self.remove("s")


if __name__ == "__main__":
    unittest.main(verbosity=2)
