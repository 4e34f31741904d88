# SPDX-License-Identifier: Apache-2.0
"""An agent in namespaces of this host, without a virtual machine.

The program is the first argument of the test program. Needs root and mount, pid and network
namespaces; skips by name otherwise.
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

AGENT = sys.argv[1] if len(sys.argv) > 1 else ""
BUSYBOX = "/bin/busybox"
PROGRAMS = ("take_signal", "hang_up")  # beside the driver; in the containers' /bin


def cgroup2_root():
    """The place where this host has cgroup v2 mounted, or None."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields, tail = line.split(" - ")
            if tail.startswith("cgroup2 "):
                return fields.split()[4]
    return None


def make_rootfs(path):
    """A busybox root file system with things that a hostile image might hold."""
    for name in ("bin", "etc/hidden", "etc/ro-dir", "etc/volume", "etc/inner", "root", "proc",
                 "sys", "dev", "tmp", "bound"):
        os.makedirs(os.path.join(path, name))
    shutil.copy(BUSYBOX, os.path.join(path, "bin/busybox"))
    applets = subprocess.run([BUSYBOX, "--list"], stdout=subprocess.PIPE, check=True, timeout=20)
    for applet in applets.stdout.decode().split():
        target = os.path.join(path, "bin", applet)
        if not os.path.lexists(target):
            os.symlink("/bin/busybox", target)
    files = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n",
        "etc/group": "root:x:0:\nuser:x:1001:\nextra:x:1002:user\n",
        "etc/secret": "secret\n",
        "etc/hidden/file": "hidden\n",
        "etc/volume/file": "in the volume\n",
        "etc/inner/mark": "mark\n",
    }
    for name, text in files.items():
        with open(os.path.join(path, name), "w", encoding="ascii") as out:
            out.write(text)
    with open(os.path.join(path, "etc/not-elf"), "wb") as out:
        out.write(b"\x7fELF\x02\x01nothing that runs")
    with open(os.path.join(path, "etc/lost-script"), "w", encoding="ascii") as out:
        out.write("#!/nowhere\n")
    for name in ("not-elf", "lost-script"):
        os.chmod(os.path.join(path, "etc", name), 0o755)
    os.symlink("../../../../../../etc/inner", os.path.join(path, "escape"))


class AgentCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        if not os.path.exists(BUSYBOX):
            raise unittest.SkipTest("needs busybox-static")
        cls.cgroups = cgroup2_root()
        if not cls.cgroups:
            raise unittest.SkipTest("needs cgroup v2 mounted somewhere")
        probe = subprocess.run(["unshare", "--fork", "--pid", "--mount", "--net", "true"],
                               stderr=subprocess.PIPE, check=False, timeout=20)
        if probe.returncode:
            raise unittest.SkipTest("cannot make namespaces: " + probe.stderr.decode().strip())

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kata-agent-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        os.chmod(self.dir, 0o711)  # root of a user namespace has to get through
        self.rootfs = os.path.join(self.dir, "rootfs")
        make_rootfs(self.rootfs)
        for name in PROGRAMS:
            shutil.copy(os.path.join(os.path.dirname(sys.argv[2]), name),
                        os.path.join(self.rootfs, "bin"))
        self.cgroup = os.path.join(self.cgroups, "kata-test-%d" % os.getpid())
        os.mkdir(self.cgroup)
        self.addCleanup(self.remove_cgroups)
        self.socket = os.path.join(self.dir, "agent.sock")
        self.log = open(os.path.join(self.dir, "log"), "w+", encoding="utf-8")
        self.addCleanup(self.log.close)
        self.agent = None

    def remove_cgroups(self):
        for path, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(path)

    def start_agent(self):
        """In namespaces of its own; /run is its own, too."""
        script = ("mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm; exec \"$0\" \"$@\"")
        self.agent = subprocess.Popen(
            ["unshare", "--fork", "--pid", "--mount", "--mount-proc", "--net", "--uts", "--ipc",
             "--kill-child", "sh", "-c", script, AGENT, "--no-boot", "--server-addr",
             "unix://" + self.socket, "--cgroup-root", self.cgroup, "--log-level", "debug",
             "--hotplug-timeout", "1"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.addCleanup(self.stop_agent)
        deadline = time.monotonic() + 20
        while not self.listens():
            if self.agent.poll() is not None or time.monotonic() > deadline:
                self.fail("the agent does not start: " + self.log_text())
            time.sleep(0.02)

    def listens(self):
        with socket.socket(socket.AF_UNIX) as peer:
            return peer.connect_ex(self.socket) == 0

    def stop_agent(self):
        if self.agent.poll() is None:
            self.agent.kill()
        self.agent.wait(20)

    def log_text(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as text:
            return text.read()[-4000:]

    def controllers(self):
        with open(os.path.join(self.cgroup, "cgroup.controllers"), encoding="ascii") as text:
            return text.read().split()
