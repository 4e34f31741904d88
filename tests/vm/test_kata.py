# SPDX-License-Identifier: Apache-2.0
"""`kata` as a user sees it, in real virtual machines."""
import glob
import hashlib
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest

from kata_case import BIN, BUILD, BUSYBOX, SLOWNESS, KataCase, processes

KERNEL = ("Life.test_detached Run.test_an_oops_ends_the_machine Run.test_binary_data_both_ways "
          "Run.test_cpus Run.test_files_that_only_root_may_read Run.test_guest_facilities "
          "Run.test_guest_has_room_for_the_limit Run.test_guest_kernel_and_pid_1 "
          "Run.test_layer_that_hides_all_below Run.test_memory_limit "
          "Run.test_more_files_than_the_server_may_open "
          "Run.test_mounts_are_not_announced_to_the_guest Run.test_nesting Run.test_network_none "
          "Run.test_options_reach_the_process Run.test_over_its_limit_dies_alone Run.test_volumes")
LAB = "quick"
TIMEOUT_S = 600
LAB_QUICK = ("Run.test_guest_kernel_and_pid_1 Run.test_binary_data_both_ways Run.test_volumes "
             "Run.test_cpus Run.test_over_its_limit_dies_alone Run.test_guest_facilities "
             "Run.test_network_none Life.test_detached Life.test_killed_engine_leaves_nothing")


class Run(KataCase):
    def test_guest_kernel_and_pid_1(self):
        self.assertNotEqual(self.run_ok("busybox", "uname", "-r").strip(), platform.release())
        out = self.run_ok("busybox", "cat", "/proc/1/status")
        self.assertIn("Pid:\t1\n", out)
        self.assertIn("Name:\tcat\n", out)

    def test_exit_status(self):
        cases = ((0, ["true"]), (1, ["false"]), (7, ["sh", "-c", "exit 7"]),
                 (137, ["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]), (127, ["/no/such/program"]),
                 (127, ["no-such-program"]), (127, [""]), (126, ["/etc/passwd"]))
        for want, command in cases:
            with self.subTest(command=command):
                done = self.kata("run", "--rm", "busybox", *command)
                self.assertEqual(done.returncode, want, done.stderr)

    def test_streams_are_apart(self):
        done = self.kata("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
        self.assertEqual((done.stdout, done.stderr), ("out\n", "err\n"))

    def test_binary_data_both_ways(self):
        data = os.urandom(8 << 20)
        done = self.kata("run", "--rm", "-i", "busybox", "cat", stdin=data, text=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(data).digest())

    def test_much_output_at_full_speed(self):
        done = self.kata("run", "--rm", "busybox", "head", "-c", str(64 << 20), "/dev/zero", text=False)
        self.assertEqual((done.returncode, len(done.stdout)), (0, 64 << 20), done.stderr)

    def test_stdin_ends(self):
        self.assertEqual(self.run_ok("-i", "busybox", "wc", "-c", stdin="12345"), "5\n")

    def test_without_i_stdin_is_empty(self):
        self.assertEqual(self.run_ok("busybox", "wc", "-c"), "0\n")

    def test_options_reach_the_process(self):
        out = self.run_ok("-h", "box", "-e", "A=1 2", "-e", "FROM_HERE", "-w", "/tmp",
                          "-u", "1000:1001", "busybox", "sh", "-c",
                          "echo $A; echo $FROM_HERE; pwd; id -u; id -g; hostname",
                          env={"FROM_HERE": "yes"})
        self.assertEqual(out.split("\n")[:6], ["1 2", "yes", "/tmp", "1000", "1001", "box"])

    def test_volumes(self):
        folder = os.path.join(self.root, "volume")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "a"), "w") as f:
            f.write("from the host\n")
        out = self.run_ok("-v", f"{folder}:/data", "busybox", "sh", "-c",
                          "cat /data/a; echo back > /data/b")
        self.assertEqual(out, "from the host\n")
        with open(os.path.join(folder, "b")) as f:
            self.assertEqual(f.read(), "back\n")
        done = self.kata("run", "--rm", "-v", f"{folder}/a:/one:ro", "busybox", "sh", "-c",
                         "cat /one; echo x > /one")
        self.assertEqual(done.stdout, "from the host\n")
        self.assertIn("Read-only", done.stderr)
        for source, destination, word in ((folder, "/etc/hosts", "a directory, the destination not"),
                                          (f"{folder}/a", "/bin", "a file, the destination a directory"),
                                          ("/proc/sys", "/p", "the host's /proc"),
                                          (self.a_cgroup(), "/sys/fs/cgroup", "the host's cgroups")):
            done = self.kata("run", "--rm", "-v", f"{source}:{destination}", "busybox", "true")
            self.assertEqual(done.returncode, 125)
            self.assertIn(word, done.stderr)

    @staticmethod
    def a_cgroup():
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            return next(line.split()[4] for line in mounts if " - cgroup" in line)

    def test_memory_limit(self):
        out = self.run_ok("--memory", "128m", "busybox", "cat", "/sys/fs/cgroup/memory.max")
        self.assertEqual(out, f"{128 << 20}\n")

    def test_guest_has_room_for_the_limit(self):
        for limit_mib in (32, 4096):
            out = self.run_ok("--network", "none", "--memory", f"{limit_mib}m", "busybox",
                              "cat", "/proc/meminfo")
            free_kib = int(out.split("MemFree:")[1].split()[0])
            self.assertGreater(free_kib, limit_mib << 10, f"--memory {limit_mib}m")

    def test_over_its_limit_dies_alone(self):
        self.kata_ok("run", "-d", "--name", "hog", "--network", "none", "--memory", "64m",
                     "busybox", "sleep", "100")
        self.assertEqual(self.kata("exec", "hog", "tail", "/dev/zero").returncode, 137)
        events = self.kata_ok("exec", "hog", "cat", "/sys/fs/cgroup/memory.events")
        self.assertIn("\noom 1\n", events)  # the container's limit, not the guest's end
        self.assertIn("running", self.kata_ok("ps"))

    def test_cpus(self):
        out = self.run_ok("--cpus", "1.5", "busybox", "sh", "-c",
                          "nproc; cat /sys/fs/cgroup/cpu.max")
        self.assertEqual(out.split(), ["2", "150000", "100000"])

    def test_guest_facilities(self):
        out = self.run_ok("busybox", "sh", "-c",
                          "cat /proc/sys/user/max_user_namespaces; dmesg | head -1;"
                          "ls /dev/pts >/dev/null && ls /dev/mqueue >/dev/null && echo ok")
        self.assertGreater(int(out.split()[0]), 0)
        self.assertIn("Linux version", out)
        self.assertTrue(out.endswith("ok\n"))

    def test_nesting(self):
        """User namespaces whatever the kernel's parameters, with an overlay in one; the children of a thread."""
        path = os.path.join(self.root, "no-userns.toml")
        with open(path, "w", encoding="ascii") as f:
            f.write('[hypervisor.qemu]\nkernel_params = "sysctl.user.max_user_namespaces=0"\n')
        done = self.kata("--config", path, "run", "--rm", "--network", "none", "busybox", "sh", "-c",
                         "cat /proc/cmdline /proc/sys/user/max_user_namespaces; sleep 1000 & cat /proc/1/task/1/children; echo;"
                         "mkdir /x; unshare -Urm sh -c 'mount -t tmpfs none /x && cd /x && mkdir l u w m && echo below >l/file &&"
                         " mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr none m && cat m/file'")
        self.assertEqual(done.returncode, 0, done.stderr)
        command, most, children, below = done.stdout.strip().split("\n")
        self.assertIn("sysctl.user.max_user_namespaces=0", command)
        self.assertGreater(int(most), 0)
        self.assertTrue(children.strip(), "no child")
        self.assertEqual(below, "below")

    def test_mounts_are_not_announced_to_the_guest(self):
        """A file system of the guest's for each of them has brought Linux 6.12 down."""
        self.kata_ok("run", "-d", "--name", "calm", "--network", "none", "busybox", "sleep", "100")
        for pid in (pid for pid, name in processes().items() if name == "virtiofsd"):
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as f:
                words = f.read().split("\0")
            announced = [w for w in words if "announce" in w and not w.startswith("--no-")]
            self.assertEqual(announced, [])

    def test_an_oops_ends_the_machine(self):
        self.assertEqual(self.run_ok("--network", "none", "busybox", "cat",
                                     "/proc/sys/kernel/panic_on_oops"), "1\n")

    def test_files_that_only_root_may_read(self):
        """Such as a distribution's kernel of mode 0600; the monitor has another user."""
        guest = os.path.join(BUILD, "guest")
        for name in ("vmlinux", "initrd"):
            shutil.copy(os.path.join(guest, name), self.root)
            os.chmod(os.path.join(self.root, name), 0o600)
        config = os.path.join(self.root, "closed.toml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(f"[hypervisor.qemu]\nkernel = '{self.root}/vmlinux'\n"
                    f"initrd = '{self.root}/initrd'\n")
        done = self.kata("--config", config, "run", "--rm", "--network", "none", "busybox", "echo",
                         "fine")
        self.assertEqual((done.returncode, done.stdout), (0, "fine\n"), done.stderr)

    def test_many_layers(self):
        """Docker's most: each with a file that says which it is."""
        self.load_layers("many", [self.busybox_layer(), *(
            self.layer((f"layer{n}", str(n))) for n in range(1, 127))])
        out = self.run_ok("--network", "none", "many", "sh", "-c", "cat /layer1 /layer77 /layer126;"
                          "ls / | grep -c layer; echo x >/new")
        self.assertEqual(out, "177126126\n")
        self.kata_ok("rmi", "many")

    def test_layer_that_hides_all_below(self):
        self.load_layers("opaque", [self.layer(("below", "")), self.busybox_layer(),
                                    self.layer((".wh..wh..opq", ""), ("busy", "")),
                                    self.busybox_layer()])
        self.assertEqual(sorted(self.run_ok("--network", "none", "opaque", "ls", "/").split()),
                         sorted({*self.run_ok("--network", "none", "busybox", "ls", "/").split(), "busy"}))
        self.kata_ok("rmi", "opaque")

    def test_links_to_what_the_image_lacks(self):
        """As systemd-resolved leaves them: what is mounted there is mounted where they lead."""
        self.load_layers("links", [self.busybox_layer(), self.layer(
            ("etc/resolv.conf", "", "../run/systemd/resolve/stub-resolv.conf"),
            ("data", "", "/var/lib/none/data"))])
        out = self.run_ok("-v", f"{os.path.dirname(BUSYBOX)}:/data:ro", "-w", "/data", "links",
                          "sh", "-c", "grep -c nameserver /run/systemd/resolve/stub-resolv.conf; "
                          "pwd -P; ls busybox.tar")
        self.assertRegex(out, r"^[1-9]\d*\n/var/lib/none/data\nbusybox.tar\n$")
        self.kata_ok("rmi", "links")

    def test_more_files_than_the_server_may_open(self):
        """The guest forgets some before; where virtiofsd may have too few, it is 9p."""
        folder = os.path.join(self.root, "many")
        os.makedirs(folder)
        self.addCleanup(shutil.rmtree, folder)
        for n in range(20000):
            os.close(os.open(os.path.join(folder, str(n)), os.O_CREAT | os.O_WRONLY))
        for limit, kind in ((16384, "virtiofs"), (1024, "9p")):
            with self.subTest(limit=limit):
                done = subprocess.run(
                    ["prlimit", f"--nofile={limit}:{limit}",
                     "setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource", os.path.join(BIN, "kata"), "--root", self.root,
                     "run", "--rm", "--network", "none", "-v", f"{folder}:/many", "busybox", "sh", "-c",
                     f"ls -l /many | wc -l; ls /bin/busybox; grep -c '^kataShared / {kind} ' /proc/mounts"],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120 * SLOWNESS, check=False)
                self.assertRegex(done.stdout, r"^20001\n/bin/busybox\n1\n$", done.stderr)

    def test_volume_below_our_own_files(self):
        folder = os.path.join(self.root, "etc")
        os.makedirs(folder)
        self.addCleanup(shutil.rmtree, folder)
        out = self.run_ok("-v", f"{folder}:/etc", "busybox", "sh", "-c",
                          "grep -c localhost /etc/hosts; wc -l </etc/hostname; grep -c name /etc/resolv.conf")
        self.assertRegex(out, r"^[1-9]\n1\n[1-9]\n$")

    @staticmethod
    def layer(*files):
        """Of (name, text) and (name, "", where a link leads), uncompressed."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, text, *link in files:
                item = tarfile.TarInfo(name)
                item.size = len(text)
                if link:
                    item.type, item.linkname = tarfile.SYMTYPE, link[0]
                tar.addfile(item, io.BytesIO(text.encode()))
        return out.getvalue()

    @staticmethod
    def busybox_layer():
        with tarfile.open(BUSYBOX) as image:
            base = next(m for m in image.getmembers() if m.name.endswith("layer.tar"))
            return image.extractfile(base).read()

    def test_volumes_of_an_image(self):
        """Directories that it lacks are made, those it has are as they are."""
        self.load_layers("volumes", [self.busybox_layer(), self.layer(("here/file", "kept"))],
                         {"Volumes": {"/here": {}, "/none/such": {}, "/etc/../deep//er/": {},
                                       "/here/file": {}, "/put/file": {}}})
        out = self.run_ok("--network", "none", "-v", f"{BUSYBOX}:/put/file", "volumes", "sh", "-c",
                          "cat /here/file; echo; test -f /put/file; stat -c '%F %a %u' /none/such /deep/er; echo x >/none/such/x")
        self.assertEqual(out, "kept\n" + 2 * "directory 755 0\n")
        self.kata_ok("rmi", "volumes")

    def load_layers(self, name, layers, run=None):
        """A docker archive of uncompressed layers."""
        digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
        config = json.dumps({"os": "linux", "architecture": "amd64", "config": run or {}, "rootfs": {
            "type": "layers", "diff_ids": ["sha256:" + one for one in digests]}}).encode()
        files = {f"{one}.tar": layer for one, layer in zip(digests, layers)}
        files["config.json"] = config
        files["manifest.json"] = json.dumps([{
            "Config": "config.json", "RepoTags": [f"{name}:latest"],
            "Layers": [f"{one}.tar" for one in digests]}]).encode()
        path = os.path.join(self.root, name + ".tar")
        with tarfile.open(path, "w") as tar:
            for file_name, data in files.items():
                item = tarfile.TarInfo(file_name)
                item.size = len(data)
                tar.addfile(item, io.BytesIO(data))
        self.kata_ok("load", path)

    def test_network_none(self):
        out = self.run_ok("--network", "none", "busybox", "ls", "/sys/class/net")
        self.assertEqual(out, "lo\n")

    def test_bad_values_are_refused(self):
        for args in (["--memory", "lots"], ["--memory", "0.0000001t"], ["--cpus", "0.001"],
                     ["--network", "moon"], ["-v", "relative:/x"], ["-v", "/nonexistent-dir:/x"], ["-p", "80"],
                     ["-v", "/tmp:/a/../.."], ["-e", "=x"], ["-v", "/tmp:/proc/x"],
                     ["-v", "/tmp:/x", "-v", "/var:/x/"], ["-v", "/tmp:/dev/"],
                     ["-v", "/etc/passwd:/dev/null"],
                     ["--name", "a/b"], ["--nonsense"]):
            with self.subTest(args=args):
                done = self.kata("run", "--rm", *args, "busybox", "true")
                self.assertEqual(done.returncode, 125, done.stderr)
                self.assertTrue(done.stderr.startswith("kata: "), done.stderr)
        for ask in (("help", "run"), ("run", "--help"), ("run", "--rm", "--help")):
            self.assertIn("--publish", self.kata_ok(*ask))
        done = self.kata("run", "--rm", "no-such-image", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("no-such-image", done.stderr)


class Life(KataCase):
    def test_detached(self):
        ident = self.kata_ok("run", "-d", "--name", "life", "busybox", "sh", "-c",
                             "echo one; echo two >&2; sleep 1000").strip()
        self.assertRegex(ident, "^[0-9a-f]{64}$")
        self.assertIn(ident[:12], self.containers())
        self.assertEqual(self.inspect("life")["state"]["status"], "running")
        self.assertEqual(self.kata_ok("exec", "life", "cat", "/etc/hostname"), ident[:12] + "\n")
        self.assertEqual(self.kata("exec", "life", "sh", "-c", "exit 9").returncode, 9)
        self.assertEqual(self.kata("exec", "life", "nothing").returncode, 127)
        self.assertEqual(self.kata_ok("exec", "-i", "life", "cat", stdin="abc"), "abc")
        logs = self.kata("logs", "life")
        self.assertEqual((logs.stdout, logs.stderr), ("one\n", "two\n"))
        self.assertNotEqual(self.kata("rm", "life").returncode, 0)
        self.kata_ok("stop", "-t", "1", "life")
        self.assertEqual(self.kata_ok("wait", "life"), "137\n")
        self.assertEqual(self.inspect("life")["state"]["exit_status"], 137)
        self.assertEqual(self.kata_ok("logs", "life"), "one\n")
        self.kata_ok("rm", "life")
        self.assertEqual(self.containers(), [])

    def test_log_says_whether_profiles_are_applied(self):
        """disable_guest_seccomp, in the line that says what a machine was started with."""
        config = os.path.join(self.root, "seccomp.toml")
        with open(config, "w", encoding="ascii") as f:
            f.write("[runtime]\ndisable_guest_seccomp = false\n")
        for options, word in (((), "off"), (("--config", config), "on")):
            self.kata_ok(*options, "run", "--name", word, "--network", "none", "busybox", "true")
            with open(os.path.join(self.inspect(word)["directory"], "shim.log"), encoding="utf-8") as f:
                ready = [line for line in f if "sandbox ready" in line]
            self.assertEqual(len(ready), 1)
            self.assertIn(f", guest seccomp {word}, ", ready[0])

    def test_exec_as_a_user_of_the_container(self):
        """One that was made in it, which its image does not know."""
        self.kata_ok("run", "-d", "--name", "u", "--network", "none", "busybox", "sleep", "1000")
        self.kata_ok("exec", "u", "sh", "-c", "echo 'me:x:777:888::/tmp:/bin/sh' >>/etc/passwd;"
                     "echo 'us:x:999:me' >>/etc/group")
        self.assertEqual(self.kata_ok("exec", "-u", "me", "u", "id"),
                         "uid=777(me) gid=888 groups=888,999(us)\n")
        for user, home in (([], "/root"), (["-u", "me"], "/tmp"), (["-u", "4242"], "/"),
                           (["-u", "me", "-e", "HOME=/x"], "/x")):
            self.assertEqual(self.kata_ok("exec", *user, "u", "sh", "-c", "echo $HOME"), home + "\n")
        done = self.kata("exec", "-e", "=x", "u", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("no name", done.stderr)
        done = self.kata("exec", "-u", "you", "u", "id")
        self.assertEqual(done.returncode, 125)
        self.assertIn("you", done.stderr)
        for odd in ("mkdir /etc/passwd", "mkfifo /etc/passwd", "ln -s passwd /etc/passwd",
                    "dd if=/dev/zero of=/etc/passwd bs=1M count=5 2>/dev/null"):
            self.kata_ok("exec", "u", "sh", "-c", f"rm -rf /etc/passwd; {odd}")
            self.assertEqual(self.kata_ok("exec", "-u", "7", "u", "sh", "-c", "echo $HOME"), "/\n", odd)
        self.kata_ok("rm", "-f", "u")

    def test_long_command(self):
        """About a MB of arguments is six times as long in the container's record."""
        self.kata_ok("run", "-d", "--name", "long", "--network", "none", "busybox", "sleep", "1000",
                     *["\x01" * 100000] * 10)
        self.assertEqual(self.inspect("long")["state"]["status"], "running")
        self.assertEqual(len(self.containers()), 1)
        self.kata_ok("rm", "-f", "long")

    def test_rm_ended_is_not_for_what_runs(self):
        self.kata_ok("run", "-d", "--name", "lives", "--network", "none", "busybox", "sleep", "1000")
        done = self.kata("rm", "--ended", "lives")
        self.assertEqual(done.returncode, 1)
        self.assertIn("running", done.stderr)
        self.assertEqual(self.inspect("lives")["state"]["status"], "running")
        self.kata_ok("rm", "-f", "lives")

    def test_rm_after_wait(self):
        for name in ("w1", "w2", "w3"):
            self.kata_ok("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "60")
            self.kata_ok("kill", "-s", "KILL", name)
            self.assertEqual(self.kata_ok("wait", name), "137\n")
            self.kata_ok("rm", name)

    def test_names_are_unique(self):
        self.kata_ok("run", "-d", "--name", "same", "busybox", "sleep", "1000")
        done = self.kata("run", "-d", "--name", "same", "busybox", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("same", done.stderr)

    def test_logs_to_who_does_not_wait(self):
        """A parent's pipe may be a non-blocking one: the log waits for it, and is whole."""
        self.kata_ok("run", "-d", "--name", "l", "busybox", "sh", "-c", "seq 100000")
        self.kata_ok("wait", "l")
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        with subprocess.Popen([os.path.join(BIN, "kata"), "--root", self.root, "logs", "l"],
                              stdout=theirs) as logs, os.fdopen(ours, "rb") as out:
            os.close(theirs)
            time.sleep(1)
            self.assertEqual(out.read().split()[-1], b"100000")
            self.assertEqual(logs.wait(60), 0)

    def test_an_id_is_no_name(self):
        """An id is its container's, whatever another one is called."""
        first = self.kata_ok("run", "-d", "--name", "first", "busybox", "sleep", "1000").strip()
        self.kata_ok("run", "-d", "--name", first, "busybox", "sleep", "1000")
        self.kata_ok("rm", "-f", first)
        self.assertNotIn("first", self.kata_ok("ps", "-a"))
        self.kata_ok("rm", "-f", first)  # the other's name now

    def test_wait_and_kill(self):
        self.kata_ok("run", "-d", "--name", "k", "busybox", "sh", "-c",
                     "trap 'exit 3' USR1; while :; do sleep 0.1; done")
        waiting = subprocess.Popen([os.path.join(BIN, "kata"), "--root", self.root, "wait", "k"],
                                   stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        self.kata_ok("kill", "-s", "USR1", "k")
        self.assertEqual(waiting.communicate(timeout=60)[0], "3\n")

    def test_detached_rm_removes_itself(self):
        self.kata_ok("run", "-d", "--rm", "busybox", "sleep", "1")
        for _ in range(300):
            if not self.containers():
                break
            time.sleep(0.1)
        self.assertEqual(self.containers(), [])

    def test_relative_paths(self):
        """Of the store and the configuration: the engine stands in another directory."""
        with open(os.path.join(self.root, "here.toml"), "w", encoding="ascii") as f:
            f.write("[hypervisor.qemu]\ndefault_memory = 300\n")
        done = subprocess.run([os.path.join(BIN, "kata"), "--root", ".", "--config", "here.toml",
                               "run", "--rm", "--network", "none", "busybox", "grep", "MemTotal",
                               "/proc/meminfo"], cwd=self.root, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLess(int(done.stdout.split()[1]), 300 << 10)

    def test_signal_is_passed_on(self):
        p = subprocess.Popen([os.path.join(BIN, "kata"), "--root", self.root, "run", "--rm", "busybox",
                              "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"],
                             stdout=subprocess.PIPE, text=True)
        self.assertEqual(p.stdout.readline(), "ready\n")
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(timeout=60), 5)
        p.stdout.close()

    def test_killed_engine_leaves_nothing(self):
        self.kata_ok("run", "-d", "--name", "gone", "busybox", "sleep", "1000")
        path = self.inspect("gone")["directory"]
        with open(os.path.join(path, "shim.pid")) as f:
            os.kill(int(f.read()), signal.SIGKILL)
        for _ in range(100):
            if self.inspect("gone")["state"]["status"] == "dead":
                break
            time.sleep(0.1)
        self.assertEqual(self.inspect("gone")["state"]["status"], "dead")
        self.kata_ok("rm", "gone")
        self.run_ok("busybox", "true")  # the next start sweeps what is left in /run

    def test_full_disk_keeps_the_exit_status(self):
        small = tempfile.mkdtemp(dir="/var/tmp")
        self.addCleanup(os.rmdir, small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "kata-test", small], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", small], check=True)
        call = [os.path.join(BIN, "kata"), "--root", small]
        subprocess.run([*call, "load", BUSYBOX], check=True, stdout=subprocess.DEVNULL)
        ident = subprocess.run([*call, "run", "-d", "--network", "none", "busybox", "sh", "-c",
                                "yes | head -c 12000000; exit 3"], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.strip()
        done = subprocess.run([*call, "wait", ident], check=True, stdout=subprocess.PIPE, text=True)
        self.assertEqual(done.stdout, "3\n")
        self.assertLess(os.statvfs(small).f_bfree, 4)
        done = subprocess.run([*call, "logs", ident], check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the log ends before the output does: No space left on device", done.stderr)
        subprocess.run([*call, "rm", ident], check=True, stdout=subprocess.DEVNULL)

    def test_remove_that_fails_keeps_no_image(self):
        """Nobody would know of a lease whose container is gone."""
        ident = self.kata_ok("run", "-d", "--network", "none", "busybox", "true").strip()
        self.assertEqual(self.kata_ok("wait", ident), "0\n")
        busy = os.path.join(self.root, "containers", ident, "busy")
        os.mkdir(busy)
        subprocess.run(["mount", "-t", "tmpfs", "none", busy], check=True)
        try:
            self.assertNotEqual(self.kata("rm", ident).returncode, 0)
            self.assertEqual(os.listdir(os.path.join(self.root, "leases")), [])
        finally:
            subprocess.run(["umount", busy], check=True)
        self.kata_ok("rm", ident)

    def test_the_callers_umask_is_not_the_containers(self):
        done = subprocess.run(["sh", "-c", 'umask 077; exec "$@"', "sh", os.path.join(BIN, "kata"),
                               "--root", self.root, "run", "--rm", "--network", "none", "-u", "1000",
                               "busybox", "stat", "-c", "%a", "/", "/etc/hosts"], capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual(done.stdout, "755\n644\n", done.stderr)

    def test_closed_descriptors(self):
        """Nothing of ours takes their numbers, and what cannot be written is no success."""
        for redirect, status in ((">&-", 125), ("<&-", 0)):
            done = subprocess.run(["sh", "-c", f'exec "$@" {redirect}', "sh", os.path.join(BIN, "kata"),
                                   "--root", self.root, "run", "--rm", "--network", "none", "busybox",
                                   "echo", "hello"], capture_output=True, timeout=60, text=True,
                                  check=False)
            self.assertEqual(done.returncode, status, done.stderr)
        done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", os.path.join(BIN, "kata"), "--root",
                               self.root, "load", "-"], capture_output=True, timeout=60, text=True,
                              check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Bad file descriptor", done.stderr)

    def cgroups_of(self, ident):
        return [path for kind in ("*/kata", "kata") for path in glob.glob(f"/sys/fs/cgroup/{kind}/{ident}")]

    def kill_of(self, program, known):
        """Kills the process of that name which was not there before."""
        for pid, name in processes().items():
            if name.startswith(program) and pid not in known:
                os.kill(pid, signal.SIGKILL)

    def test_cgroups_of_the_host_are_removed(self):
        """However it ends; those of a killed engine by the next start."""
        for end in ("itself", "rm", "qemu", "passt", "containerd-shim"):
            with self.subTest(end=end):
                known = processes()
                ident = self.kata_ok("run", "-d", "--name", "ends", "busybox", "sleep",
                                     "1" if end == "itself" else "1000").strip()
                if end != "itself":
                    self.assertNotEqual(self.cgroups_of(ident), [])
                if end == "rm":
                    self.kata_ok("rm", "-f", "ends")
                elif end != "itself":
                    self.kill_of(end, known)
                deadline = time.monotonic() + 20 * SLOWNESS
                while self.cgroups_of(ident) and time.monotonic() < deadline:
                    time.sleep(0.1)
                    if end == "containerd-shim" and len(processes()) <= len(known):
                        self.run_ok("--network", "none", "busybox", "true")
                self.assertEqual(self.cgroups_of(ident), [])
                if end != "rm":
                    self.kata("wait", "ends")
                    self.kata_ok("rm", "ends")


if __name__ == "__main__":
    unittest.main(verbosity=2)
