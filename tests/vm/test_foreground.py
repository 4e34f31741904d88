# SPDX-License-Identifier: Apache-2.0
"""`kata run` and `kata exec` in the foreground: signals, and readers that go away."""
import fcntl
import glob
import hashlib
import json
import os
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest

from kata_case import BIN, BUSYBOX, LIMIT, SLOWNESS, KataCase, processes

KERNEL = "any"
LAB = "full"


class ForegroundCase(KataCase):
    def start(self, *args, **kw):
        kw = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
              "text": True, **kw}
        p = subprocess.Popen([os.path.join(BIN, "kata"), "--root", self.root, *args], **kw)
        self.addCleanup(self.finish, p)
        return p

    @staticmethod
    def finish(p):
        p.kill()
        for pipe in (p.stdout, p.stderr):
            if pipe:
                pipe.close()
        p.wait()

    def names(self, what):
        path = os.path.join(self.root, what)
        return os.listdir(path) if os.path.isdir(path) else []

    def nothing_kept(self):
        self.assertEqual(self.containers(), [])
        self.assertEqual([self.names("containers"), self.names("names"), self.names("leases")],
                         [[], [], []])

    def wait_removed(self):
        """By --rm's hook, which removes one after the other."""
        self.wait_until(lambda: not any(self.names(kind) for kind in ("containers", "names", "leases")),
                        "it was not removed")

    def wait_until(self, true, what):
        end = time.monotonic() + 30 * SLOWNESS
        while not true():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.05)


class EndedStart(ForegroundCase):
    """A signal while the machine boots: what Ctrl-C is pressed for most."""

    def end_at(self, seconds, sig, *options):
        p = self.start("run", *options, "--network", "none", "busybox", "sleep", "100")
        time.sleep(seconds)
        p.send_signal(sig)
        out, err = p.communicate(timeout=LIMIT)
        self.assertEqual((p.returncode, out, err), (128 + sig, "", ""))
        self.nothing_kept()

    def test_at_each_moment(self):
        for n, seconds in enumerate((0.08, 0.3, 0.5, 0.7)):
            sig = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[n % 3]
            with self.subTest(seconds=seconds, signal=sig):
                self.end_at(seconds, sig, *(("--rm",) if n % 2 else ()))

    def test_detached(self):
        self.end_at(0.5, signal.SIGTERM, "-d")

    def test_engine_is_killed_meanwhile(self):
        p = self.start("run", "--rm", "--network", "none", "busybox", "sleep", "100")
        self.wait_until(lambda: "qemu-system-x86_64" in processes().values(), "no machine")
        engine = next(pid for pid, name in processes().items() if name == "containerd-shim-kata-v2")
        os.kill(engine, signal.SIGKILL)
        _, err = p.communicate(timeout=LIMIT)
        self.assertEqual(p.returncode, 125)
        self.assertRegex(err, "^kata: the engine of container '[0-9a-f]{12}' was killed\n$")
        self.run_ok("--network", "none", "busybox", "true")  # which sweeps what is left
        self.nothing_kept()


class BeingMade(ForegroundCase):
    """Between the name and the engine."""

    def test_others_wait_or_are_refused(self):
        p = self.start("run", "-d", "--name", "new", "--network", "none", "busybox", "sh", "-c",
                       "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done")
        self.wait_until(lambda: self.names("names"), "no name")
        done = self.kata("rm", "-f", "new")
        self.assertEqual(done.returncode, 1)
        self.assertIn("being made", done.stderr)
        w = self.start("wait", "new")
        self.assertEqual(p.wait(LIMIT), 0)
        self.wait_until(lambda: "ready" in self.kata_ok("logs", "new"), "not ready")
        self.kata_ok("stop", "new")
        self.assertEqual(w.communicate(timeout=LIMIT)[0], "7\n")
        self.kata_ok("rm", "new")

    def test_signal_of_the_image(self):
        folder = os.path.join(self.root, "usr1")
        os.makedirs(folder)
        with tarfile.open(BUSYBOX) as tar:
            tar.extractall(folder)
        with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as f:
            manifest = json.load(f)
        path = os.path.join(folder, manifest[0]["Config"])
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
        config["config"]["StopSignal"] = "SIGUSR1"
        os.unlink(path)
        text = json.dumps(config).encode()
        manifest[0]["Config"] = hashlib.sha256(text).hexdigest() + ".json"
        with open(os.path.join(folder, manifest[0]["Config"]), "wb") as f:
            f.write(text)
        manifest[0]["RepoTags"] = ["usr1:latest"]
        with open(os.path.join(folder, "manifest.json"), "w", encoding="utf-8") as f:
            json.dump(manifest, f)
        with tarfile.open(folder + ".tar", "w") as tar:
            for name in os.listdir(folder):
                tar.add(os.path.join(folder, name), name)
        self.kata_ok("load", folder + ".tar")
        self.kata_ok("run", "-d", "--name", "u", "--network", "none", "usr1", "sh", "-c",
                     "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done")
        self.wait_until(lambda: "ready" in self.kata_ok("logs", "u"), "not ready")
        self.kata_ok("stop", "u")
        self.assertEqual(self.kata_ok("wait", "u"), "9\n")
        self.kata_ok("rm", "u")

    def test_short_and_removed(self):
        for _ in range(3):
            self.kata_ok("run", "-d", "--rm", "--network", "none", "busybox", "true")
            self.wait_removed()


    def test_log_that_is_followed(self):
        """Until the container is removed: the moment between its end and that may be missed."""
        for n in range(5):
            name = f"f{n}"
            self.kata_ok("run", "-d", "--rm", "--name", name, "--network", "none", "busybox", "sh", "-c",
                         "echo said; sleep 0.5")
            self.assertEqual(self.kata_ok("logs", "-f", name), "said\n")

    def test_left_behind_by_its_hook(self):
        """Which leaves it to whoever holds its lock; he may never come."""
        self.kata_ok("run", "-d", "--rm", "--name", "left", "--network", "none", "busybox", "sleep", "1")
        where = os.path.join(self.root, "containers", self.names("containers")[0])
        with open(os.path.join(where, "attached"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.kata_ok("wait", "left")
            self.wait_until(lambda: not os.path.exists("/run/kata/" + os.path.basename(where)), "no end")
        self.assertIn("left", self.kata_ok("ps", "-a"))
        self.kata_ok("run", "--rm", "--network", "none", "busybox", "true")
        self.assertEqual(self.containers(), [])


class Signals(ForegroundCase):
    def test_logs_of_one_that_keeps_none(self):
        p = self.start("run", "--rm", "--name", "seen", "--network", "none", "busybox", "sh", "-c",
                       "echo ready; exec sleep 1000")
        self.assertEqual(p.stdout.readline(), "ready\n")
        for options in ((), ("-f",)):
            done = self.kata("logs", *options, "seen")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("'seen' keeps no log: with --rm its output goes to its `kata run` alone", done.stderr)
        self.kata_ok("kill", "seen")
        self.assertEqual(p.wait(LIMIT), 137)

    def test_all_are_passed_on(self):
        wanted = ("ABRT", "ALRM", "CONT", "SYS", "TRAP", "USR1", "USR2", "VTALRM", "WINCH", "URG", "TSTP", "TERM")
        script = "".join(f"trap 'echo {name}' {name};" for name in wanted if name != "TERM")
        p = self.start("run", "--rm", "--network", "none", "busybox", "sh", "-c",
                       script + "trap 'echo TERM; exit 3' TERM; echo ready;"
                       "while :; do sleep 0.1; done")
        self.assertEqual(p.stdout.readline(), "ready\n")
        for name in wanted:
            p.send_signal(getattr(signal, "SIG" + name))
            self.assertEqual(p.stdout.readline(), name + "\n")
        self.assertEqual(p.wait(LIMIT), 3)
        self.nothing_kept()

    def test_ignored_ones_are_not(self):
        """nohup's SIGHUP and a background job's SIGINT."""
        def ignore():
            for sig in (signal.SIGHUP, signal.SIGINT):
                signal.signal(sig, signal.SIG_IGN)

        p = self.start("run", "--rm", "--network", "none", "busybox", "sh", "-c",
                       "trap 'echo TERM; exit 3' TERM; echo ready; while :; do sleep 0.1; done",
                       preexec_fn=ignore)
        self.assertEqual(p.stdout.readline(), "ready\n")
        for sig in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            p.send_signal(sig)
            time.sleep(0.3)
        self.assertEqual(p.stdout.readline(), "TERM\n")
        self.assertEqual(p.wait(LIMIT), 3)
        self.nothing_kept()

    def test_third_time_of_asking(self):
        p = self.start("run", "--rm", "--network", "none", "busybox", "sh", "-c",
                       "trap '' INT TERM; echo ready; sleep 100")
        self.assertEqual(p.stdout.readline(), "ready\n")
        for _ in range(3):
            self.assertIsNone(p.poll())
            p.send_signal(signal.SIGINT)
            time.sleep(0.3)
        self.assertEqual(p.wait(LIMIT), 128 + signal.SIGINT)
        self.nothing_kept()

    def test_killed_run_keeps_the_promise_of_rm(self):
        p = self.start("run", "--rm", "--network", "none", "busybox", "sh", "-c",
                       "echo ready; sleep 2")
        self.assertEqual(p.stdout.readline(), "ready\n")
        p.kill()
        p.wait(LIMIT)
        self.wait_removed()
        self.nothing_kept()


class BrokenOutput(ForegroundCase):
    """`kata … | head -1`: the workload is not to go on for nobody."""

    def broken(self, *args):
        p = self.start(*args)
        self.assertEqual(p.stdout.readline(), "y\n")
        p.stdout.close()
        return p.wait(30 * SLOWNESS)

    def test_run_with_rm_ends(self):
        self.assertEqual(self.broken("run", "--rm", "--network", "none", "busybox", "yes"),
                         128 + signal.SIGPIPE)
        self.nothing_kept()

    def test_run_without_rm_goes_on_for_its_log(self):
        status = self.broken("run", "--name", "goes-on", "--network", "none", "busybox", "sh", "-c",
                             "while sleep 0.1; do echo y; done")
        self.assertEqual(status, 128 + signal.SIGPIPE)
        self.assertEqual(self.inspect("goes-on")["state"]["status"], "running")
        before = self.kata_ok("logs", "goes-on")
        self.wait_until(lambda: self.kata_ok("logs", "goes-on") != before, "the log stands still")
        self.kata_ok("rm", "-f", "goes-on")

    def test_detached_whose_id_is_not_written(self):
        """It runs, which the caller has to know."""
        with open("/dev/full", "w", encoding="ascii") as full:
            p = self.start("run", "-d", "--name", "f", "--network", "none", "busybox", "sleep", "100", stdout=full)
            self.assertEqual(p.wait(LIMIT), 125)
        said = p.stderr.read()
        self.assertEqual(said.count("\n"), 1, said)
        self.assertIn("runs, but its id could not be written: No space left", said)
        self.kata_ok("rm", "-f", "f")

    def test_exec_ends(self):
        self.kata_ok("run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "1000")
        self.assertEqual(self.broken("exec", "box", "yes"), 128 + signal.SIGPIPE)
        self.wait_until(lambda: "yes" not in self.kata_ok("exec", "box", "ps"), "yes goes on")
        self.kata_ok("rm", "-f", "box")

    def test_many_who_write(self):
        """More than the way to the agent takes at once, and short calls beside it."""
        self.kata_ok("run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "1000")
        with open("/dev/zero", "rb") as zeros:
            writers = [self.start("exec", "-i", "box", "sh", "-c", "cat >/dev/null", stdin=zeros)
                       for _ in range(16)]
        for _ in range(40):
            self.kata_ok("exec", "box", "true")
        for writer in writers:
            self.assertIsNone(writer.poll())
            writer.kill()
        self.kata_ok("rm", "-f", "box")

    def test_full_disk(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            p = self.start("run", "--rm", "--network", "none", "busybox", "yes", stdout=full)
            _, err = p.communicate(timeout=LIMIT)
        self.assertEqual(p.returncode, 125)
        self.assertIn("No space left on device", err)
        self.nothing_kept()

    def test_slow_reader(self):
        """Longer than anything else may take: it is a pipe, and the reader is not done."""
        p = self.start("run", "--rm", "--network", "none", "busybox", "head", "-c", "200000",
                       "/dev/zero")
        time.sleep(33)
        out, err = p.communicate(timeout=LIMIT)
        self.assertEqual((p.returncode, len(out)), (0, 200000), err)
        self.nothing_kept()


class Log(ForegroundCase):
    def test_log_has_an_end(self):
        """Short lines are many times as long in the log: these make 270 MB of it."""
        self.kata_ok("run", "-d", "--name", "much", "--network", "none", "busybox", "sh", "-c",
                     "seq 1 5400000")
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
            slow = subprocess.Popen([os.path.join(BIN, "kata"), "--root", self.root, "logs", "-f",
                                     "much"], stdin=subprocess.DEVNULL, stdout=said, stderr=errors)
            self.addCleanup(slow.kill)
            while said.seek(0, os.SEEK_END) == 0:
                time.sleep(0.05)
            slow.send_signal(signal.SIGSTOP)
            self.assertEqual(self.kata_ok("wait", "much"), "0\n")
            slow.send_signal(signal.SIGCONT)
            self.assertEqual(slow.wait(60 * SLOWNESS), 0)
            said.seek(0)
            errors.seek(0)
            numbers = [int(line) for line in said.read().split()]
            gaps = [n for n, after in zip(numbers, numbers[1:]) if after != n + 1]
            self.assertEqual((numbers[0], numbers[-1], len(gaps)), (1, 5400000, 1))
            self.assertEqual(errors.read().count(b"a part of the log is gone"), 1)
        done = self.kata("logs", "much")
        self.assertEqual(done.returncode, 0)
        self.assertIn("beginning of the log is gone", done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(lines, [str(n) for n in range(int(lines[0]), 5400001)])
        self.assertGreater(len(lines), 1000000)
        folder = glob.glob(os.path.join(self.root, "containers", "*"))[0]
        size = sum(os.path.getsize(path) for path in glob.glob(os.path.join(folder, "output.log*")))
        self.assertLess(size, 132 << 20)
        self.kata_ok("rm", "much")


class Lists(ForegroundCase):
    """What verbs print may be unwanted, too; and one thing that fails is not all."""

    def output(self, *args, stdout):
        done = subprocess.run([os.path.join(BIN, "kata"), "--root", self.root, *args],
                              stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
                              timeout=LIMIT, text=True, check=False)
        return done.returncode, done.stderr

    def test_full_disk(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            for verb in ("ps", "images"):
                status, said = self.output(verb, stdout=full)
                self.assertEqual(status, 1)
                self.assertIn("No space left on device", said)

    def test_no_reader(self):
        rd, wr = os.pipe()
        os.close(rd)
        with os.fdopen(wr, "w") as pipe:
            self.assertEqual(self.output("images", stdout=pipe), (128 + signal.SIGPIPE, ""))

    def test_others_are_done_all_the_same(self):
        for name in ("one", "two"):
            self.kata_ok("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "99")
        done = self.kata("rm", "-f", "none", "one", "nothing", "two")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stdout.split()), 2)
        for name in ("'none'", "'nothing'"):
            self.assertIn(name, done.stderr)
        self.assertEqual(self.containers(), [])
        folder = os.path.join(self.root, "tree")
        os.makedirs(os.path.join(folder, "etc"))
        self.kata_ok("load", "--name", "extra", folder)
        done = self.kata("rmi", "none", "extra")
        self.assertEqual(done.returncode, 1)
        self.assertIn("extra", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
