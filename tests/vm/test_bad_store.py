# SPDX-License-Identifier: Apache-2.0
"""A damaged store, a full disk, values nobody expects, a user who may not."""
import fcntl
import glob
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from bad_case import BadCase
from kata_case import BIN, BUSYBOX

TIMEOUT_S = 300
KERNEL = "any"
LAB = "full"


def put(path, content):
    with open(path, "wb") as f:
        f.write(content)


class Store(BadCase):
    def test_another_version(self):
        path = os.path.join(self.root, "version")
        with open(path, "rb") as f:
            old = f.read()
        self.addCleanup(put, path, old)
        put(path, b"kata image store, format 77\n")
        for verb in (["images"], ["run", "busybox", "true"], ["load", BUSYBOX], ["rmi", "busybox"], ["ps"],
                     *([word, "x"] for word in ("inspect", "logs", "stop", "kill", "wait", "rm")),
                     ["exec", "x", "true"]):
            with self.subTest(verb=verb):
                done = self.call(*verb)
                self.assertNotEqual(done.returncode, 0)
                self.one_line(done.stderr, self.root, "format 77")
        with open(path, "rb") as f:
            self.assertEqual(f.read(), b"kata image store, format 77\n")
        put(path, old)
        self.assertIn("busybox", self.kata_ok("images"))

    def test_damaged_containers(self):
        """ps shows the others; every verb names the file; rm removes what is left."""
        self.assertEqual(self.call("run", "--name", "whole", "--network", "none", "busybox",
                                   "true").returncode, 0)
        self.assertEqual(self.call("run", "--name", "bad", "--network", "none", "busybox",
                                   "true").returncode, 0)
        where = self.inspect("bad")["directory"]
        saved = where + ".saved"
        shutil.copytree(where, saved)
        self.addCleanup(shutil.rmtree, saved, ignore_errors=True)
        for name in ("container.json", "status.json"):
            for content in (b"", b'{"id": "x', b"[]", b"\0\xff" * 100, b'{"exit_status": "no"}'):
                with self.subTest(file=name, content=content[:12]):
                    shutil.copy(os.path.join(saved, name), os.path.join(where, name))
                    put(os.path.join(where, name), content)
                    for verb in ("inspect", "logs", "wait", "exec", "ps"):
                        args = {"exec": ["bad", "true"], "ps": ["-a"]}.get(verb, ["bad"])
                        done = self.call(verb, *args)
                        self.assertGreaterEqual(done.returncode, 0, f"{verb} crashed")
                        if verb == "ps":
                            self.assertIn("whole", done.stdout)
                        if done.returncode and verb != "exec":
                            self.assertIn(name, done.stderr)
            shutil.copy(os.path.join(saved, name), os.path.join(where, name))
        for name in os.listdir(where):
            path = os.path.join(where, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        self.assertIn("whole", self.call("ps", "-a").stdout)
        self.assertEqual(self.call("rm", "bad").returncode, 0)
        put(os.path.join(self.inspect("whole")["directory"], "status.json"), b"garbage")
        self.assertEqual(self.call("rm", "whole").returncode, 0)

    def test_image_that_is_loaded_again(self):
        """The advice for a damaged one."""
        path = glob.glob(os.path.join(self.root, "images", "*", "config.json"))[0]
        with open(path, "ab") as f:
            f.write(b"}")
        done = self.call("run", "--rm", "--network", "none", "busybox", "true")
        self.assertIn("load it again", done.stderr)
        tiny = os.path.dirname(self.file("tiny/file"))
        self.kata_ok("load", "--name", "other", tiny)
        done = self.call("images")
        self.assertEqual(done.returncode, 1)
        self.assertIn("other:latest", done.stdout)
        self.assertIn("is damaged", done.stderr)
        self.kata_ok("rmi", "other")
        self.kata_ok("load", BUSYBOX)
        self.assertEqual(self.call("run", "--rm", "--network", "none", "busybox", "true").returncode, 0)

    def test_names_that_lead_nowhere(self):
        """A name without a container can be removed, or taken; one that leads out of the store is refused."""
        names = os.path.join(self.root, "names")
        os.makedirs(names, exist_ok=True)
        victim = tempfile.mkdtemp(prefix="kata-victim.", dir=self.root)
        os.symlink("f" * 64, os.path.join(names, "gone"))
        os.symlink("../" + os.path.basename(victim), os.path.join(names, "out"))
        self.addCleanup(os.unlink, os.path.join(names, "out"))
        self.assertEqual(self.call("rm", "gone").returncode, 0)
        self.assertFalse(os.path.lexists(os.path.join(names, "gone")))
        os.symlink("f" * 64, os.path.join(names, "gone"))
        self.works(options=["--name", "gone"])
        for verb in ("rm", "inspect", "logs", "stop"):
            done = self.call(verb, "out")
            self.assertNotEqual(done.returncode, 0, verb)
            self.one_line(done.stderr, "names/out")
        self.assertTrue(os.path.isdir(victim))


class Values(BadCase):
    def test_names_of_the_store(self):
        for name in ("", "a\nb", b"\xff", "/srv/a?log="):
            with self.subTest(name=name):
                done = subprocess.run([os.path.join(BIN, "kata"), "--root", name, "images"],
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                      timeout=20, check=False)
                self.assertEqual(done.returncode, 125)
                self.one_line(done.stderr, "--root '")

    def test_image_without_layers(self):
        self.file("manifest.json", '[{"Config": "c.json", "RepoTags": ["none:1"], "Layers": []}]')
        self.file("c.json", '{"os": "linux", "architecture": "amd64", "config": {}, "rootfs": '
                  '{"type": "layers", "diff_ids": []}}')
        path = self.file("none.tar")
        subprocess.run(["tar", "cf", path, "-C", os.path.dirname(path), "manifest.json", "c.json"],
                       check=True, timeout=20)
        self.kata_ok("load", path)
        done = self.call("run", "none:1", "true")
        self.assertEqual(done.returncode, 125)
        self.one_line(done.stderr, "'none:1' has no layers")
        self.kata_ok("rmi", "none:1")

    def test_refused_by_name(self):
        cases = ((["--name", "a" * 300], "--name"), (["--memory", "6"], "--memory"),
                 (["--memory", "9" * 30], "--memory"), (["--memory", "999999999999g"], "--memory"),
                 (["--memory", "-1"], "--memory"), (["--cpus", "4096"], "--cpus"),
                 (["--cpus", "nan"], "--cpus"), (["--cpus", "1e999"], "--cpus"),
                 (["-w", "here"], "'here'"), (["-u", "nobody-here"], "nobody-here"),
                 (["-v", "/a:b:/x"], "/a:b:/x"), (["-v", ":/x"], ":/x"),
                 (["-e", b"A=\xff"], "UTF-8"), (["-v", b"/tmp:/\xff"], "UTF-8"),
                 (["-e", "=x"], "=x"), (["-p", "80:80"], "--publish"), (["--hostname", "a" * 300], "hostname"),
                 (["--hostname", "a\nb"], "hostname"))
        for options, word in cases:
            with self.subTest(options=str(options)[:60]):
                self.refused(word, options=options)
        done = self.call("run", "--rm", "x" * 100000, "true")
        self.assertEqual(done.returncode, 125)
        self.assertLess(len(done.stderr), 500)

    def test_much_and_odd_but_right(self):
        volume = os.path.join(self.root, "a,b c\nd")
        os.makedirs(volume)
        done = self.call("run", "--rm", "--network", "none", "--memory", "7m",
                         *(x for i in range(10000) for x in ("-e", f"V{i}=x")),
                         "-e", "BIG=" + "y" * 100000, "-v", volume + ":/q,r s\nt", "busybox", "sh",
                         "-c", "env | grep -c ^V; echo ${#BIG}; [ -d '/q,r s\nt' ] && echo there", within=60)
        self.assertEqual((done.returncode, done.stdout),
                         (0, "10000\n100000\nthere\n"), done.stderr[:500])

    def test_options_of_unset_variables(self):
        """An empty one is none, and 0 is no limit."""
        done = self.call("run", "--rm", "--network", "none", "--memory", "0", "--cpus", "0", "--name", "",
                         "--hostname", "", "-u", "", "-w", "", "busybox", "cat", "/sys/fs/cgroup/memory.max",
                         "/sys/fs/cgroup/cpu.max", within=60)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "max\nmax 100000\n", ""))


class Host(BadCase):
    def test_full_disk(self):
        """At load, at run, and while the container writes: it gets ENOSPC, nothing else breaks."""
        where = tempfile.mkdtemp(prefix="kata-full.", dir="/var/tmp")
        self.addCleanup(os.rmdir, where)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", where], check=True)
        self.addCleanup(subprocess.run, ["umount", where], check=True)
        filler = os.path.join(where, "filler")
        root = os.path.join(where, "store")

        def kata(*args, within=60):
            return subprocess.run([os.path.join(BIN, "kata"), "--root", root, *args],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=within, check=False)

        def fill(leave):
            free = os.statvfs(where).f_bavail * os.statvfs(where).f_frsize
            put(filler, bytes(max(0, free - leave)))

        fill(300 << 10)
        done = kata("load", BUSYBOX)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("No space left", done.stderr)
        os.unlink(filler)
        done = kata("load", BUSYBOX)
        self.assertEqual(done.returncode, 0, done.stderr)
        fill(0)
        done = kata("run", "--rm", "--network", "none", "busybox", "true")
        self.assertEqual(done.returncode, 125)
        self.one_line(done.stderr, "No space left")
        os.unlink(filler)
        fill(1 << 20)
        done = kata("run", "--rm", "--network", "none", "busybox", "sh", "-c",
                    "dd if=/dev/zero of=/big bs=1M count=30 2>&1; echo after; rm /big")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("No space left", done.stdout)
        self.assertIn("after\n", done.stdout)
        os.unlink(filler)
        done = kata("run", "--rm", "--network", "none", "busybox", "echo", "well")
        self.assertEqual(done.stdout, "well\n", done.stderr)
        self.assertEqual(kata("ps", "-aq").stdout, "")

    def test_store_on_an_overlay(self):
        """As /var/lib is in a container of docker's: the kernel puts no overlay on another."""
        script = ("mount -t tmpfs o /mnt && mkdir /mnt/low /mnt/up /mnt/work /mnt/all && "
                  "mount -t overlay -o lowerdir=/mnt/low,upperdir=/mnt/up,workdir=/mnt/work o /mnt/all"
                  ' && $1 --root /mnt/all load $2 >/dev/null && $1 --root /mnt/all run --rm busybox true')
        done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", os.path.join(BIN, "kata"),
                               BUSYBOX], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 125)
        self.one_line(done.stderr, "root file system", "on an overlay file system itself", "/mnt/all")

    def test_load_that_is_stopped(self):
        """Ctrl-C while it unpacks: nothing stays, not until the next command either."""
        where = os.path.join(self.root, "stopped")
        with open(BUSYBOX, "rb") as f:
            half = f.read()[:-100_000]
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with subprocess.Popen([os.path.join(BIN, "kata"), "--root", where, "load"],
                                  stdin=subprocess.PIPE, stderr=subprocess.PIPE) as p:
                p.stdin.write(half)
                p.stdin.flush()
                self.assertTrue(os.listdir(os.path.join(where, "tmp")))
                p.send_signal(sig)
                self.assertEqual(p.wait(30), -sig)
                self.assertEqual(p.stderr.read(), b"")
            self.assertEqual(os.listdir(os.path.join(where, "tmp")), [])

    def test_load_that_is_stopped_while_it_waits(self):
        where = os.path.join(self.root, "held")
        kata = [os.path.join(BIN, "kata"), "--root", where]
        subprocess.run([*kata, "images"], stdout=subprocess.DEVNULL, timeout=30, check=True)
        for name in ("loads", "lock"):
            with open(os.path.join(where, name), "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                with subprocess.Popen([*kata, "load", BUSYBOX], stdin=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE) as p:
                    time.sleep(1)
                    p.send_signal(signal.SIGINT)
                    self.assertEqual(p.wait(20), -signal.SIGINT)
                    self.assertEqual(p.stderr.read(), b"")
            self.assertEqual(os.listdir(os.path.join(where, "tmp")), [])
        self.assertEqual(os.listdir(os.path.join(where, "images")), [])

    def test_load_of_a_terminal(self):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        for args in ([], ["-"]):
            done = subprocess.run([os.path.join(BIN, "kata"), "--root", self.root, "load", *args],
                                  stdin=theirs, capture_output=True, text=True, timeout=30, check=False)
            self.assertEqual(done.returncode, 1)
            self.one_line(done.stderr, "terminal")

    def test_odd_name_of_the_store(self):
        """All of it stands in addresses of streams, options of mounts and words of QEMU."""
        base = [os.path.join(BIN, "kata"), "--root", os.path.join(self.root, "what? a=b,c:d\\%e&#")]
        for args, out in ((["load", BUSYBOX], "Loaded image: busybox:latest\n"),
                          (["run", "--network", "none", "busybox", "echo", "said"], "said\n")):
            done = subprocess.run([*base, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, out, ""))
        name = os.listdir(os.path.join(base[2], "containers"))[0]
        done = subprocess.run([*base, "logs", name], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.stdout, "said\n")

    def test_caller_that_ignores_its_children(self):
        """SIGCHLD stays ignored over an exec: the kernel would reap our helpers then."""
        script = ("import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
                  "os.execv(sys.argv[1], sys.argv[1:])")
        for args in (("--root", os.path.join(self.root, "deaf"), "load", BUSYBOX),
                     ("--root", self.root, "run", "--rm", "--network", "none", "busybox", "true")):
            done = subprocess.run([sys.executable, "-c", script, os.path.join(BIN, "kata"), *args],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                                  check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_run_directory_is_read_only(self):
        script = ("mkdir -p /run/kata && mount --bind /run/kata /run/kata && "
                  "mount -o remount,bind,ro /run/kata && exec \"$@\"")
        done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", os.path.join(BIN, "kata"),
                               "--root", self.root, "run", "--rm", "--network", "none", "busybox", "true"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                              check=False)
        self.assertEqual(done.returncode, 125)
        self.one_line(done.stderr, "/run/kata", "Read-only")

    def test_ordinary_user(self):
        """One line that says what is missing."""
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               os.path.join(BIN, "kata"), "run", "--rm", "busybox", "true"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                              check=False, cwd="/")
        self.assertEqual(done.returncode, 125)
        self.one_line(done.stderr, "root")


if __name__ == "__main__":
    unittest.main(verbosity=2)
