# SPDX-License-Identifier: Apache-2.0
"""Bind mounts whose source is a device node: the guest's own device, or a disk of its machine."""
import os
import stat
import unittest

import grpc_client as rpc
from containerd_case import ContainerdCase
from cri_case import CriCase

LAB = "full"


def bind(source, destination, mode="rw"):
    return ("--mount", f"type=bind,src={source},dst={destination},options=rbind:{mode}")


class DeviceMounts(ContainerdCase):
    def node(self, name, kind, major, minor):
        """A device node of the host, of a user and a mode that no other has."""
        path = os.path.join(self.root, name)
        try:
            os.mknod(path, kind | 0o600, os.makedev(major, minor))
        except PermissionError as e:
            self.skipTest(f"no device nodes: {e}")
        self.addCleanup(os.unlink, path)
        os.chmod(path, 0o640)
        os.chown(path, 7, 9)
        return path

    def refused(self, *options):
        done = self.ctr(*self.run_args("no", "true", options=("--rm", *options)))
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_null(self):
        out = self.run_ok("n", "sh", "-c", "stat -c '%F %t:%T' /etc/x; echo text >/etc/x; "
                          "wc -c </etc/x", options=bind("/dev/null", "/etc/x"))
        self.assertEqual(out, "character special file 1:3\n0\n")

    def test_user_namespace(self):
        self.assertEqual(self.run_ok("u", "sh", "-c", "echo text >/etc/x && wc -c </etc/x", options=(
            "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", *bind("/dev/null", "/etc/x"))), "0\n")

    def test_owner_and_mode_are_the_hosts(self):
        zero = self.node("zero", stat.S_IFCHR, 1, 5)
        full = self.node("full", stat.S_IFCHR, 1, 7)
        out = self.run_ok("o", "sh", "-c", "stat -c '%t:%T %a %u:%g' /a/zero /full /b; "
                          "head -c 3 /a/zero | od -An -tx1; echo x 2>&1 >/full; stat -c %a /dev/zero",
                          options=(*bind(zero, "/a/zero"), *bind(full, "/full", "ro"), *bind(zero, "/b")))
        self.assertEqual(out, "1:5 640 7:9\n1:7 640 7:9\n1:5 640 7:9\n 00 00 00\n"
                         "sh: write error: No space left on device\n666\n")

    def test_rules_are_not_widened(self):
        """As runc: the mount gives a node, the specification's rules say what may be opened."""
        fuse = self.node("fuse", stat.S_IFCHR, 10, 229)
        script = "stat -c %t:%T /x; (: <>/x) 2>&1; echo $?"
        out = self.run_ok("r", "sh", "-c", script, options=bind(fuse, "/x"))
        self.assertEqual(out, "a:e5\nsh: can't create /x: Operation not permitted\n1\n")
        self.assertEqual(self.run_ok("p", "sh", "-c", script, options=("--privileged", *bind(fuse, "/x"))),
                         "a:e5\n0\n")

    def test_guest_without_the_device(self):
        node = self.node("other", stat.S_IFCHR, 195, 77)
        said = self.refused(*bind(node, "/etc/x"))
        self.assertIn("mount on '/etc/x': the guest has no device c 195:77", said)
        self.assertNotIn("\n", said.strip())

    def test_host_without_the_driver(self):
        """Of a number that is given as drivers come: nobody knows what the guest's would be."""
        node = self.node("stale", stat.S_IFCHR, 511, 77)
        self.assertIn("no driver of the host has", self.refused(*bind(node, "/etc/x")))

    def test_block(self):
        """What is written reaches the file behind the host's device."""
        node = self.loop_device(b"from the host\n")
        out = self.run_ok("b", "sh", "-c", "stat -c %F /disk; head -n 1 /disk; echo from the guest >/disk; sync",
                          options=("--privileged", *bind(node, "/disk")))
        self.assertEqual(out, "block special file\nfrom the host\n")
        self.assertEqual(self.first_line(node), b"from the guest\n")

    def first_line(self, node):
        with open(node, "rb") as f:
            return f.readline()

    def test_block_read_only(self):
        node = self.loop_device(b"from the host\n")
        out = self.run_ok("b", "sh", "-c", "head -n 1 /disk; echo no >/disk || echo refused; sync",
                          options=("--privileged", *bind(node, "/disk", "ro")))
        self.assertEqual(out, "from the host\nrefused\n")
        self.assertEqual(self.first_line(node), b"from the host\n")

    def test_block_by_the_rules(self):
        """A rule for the host's numbers is one for the guest's disk; without one there is no access."""
        node = self.loop_device(b"from the host\n")
        read = ("sh", "-c", "head -n 1 /disk 2>&1; true")
        self.assertIn("Operation not permitted", self.run_ok("b", *read, options=bind(node, "/disk")))
        self.assertEqual(self.run_ok("b", *read, options=("--device", node, *bind(node, "/disk"))),
                         "from the host\n")

    def test_fifo_is_refused(self):
        fifo = os.path.join(self.root, "fifo")
        os.mkfifo(fifo)
        self.addCleanup(os.unlink, fifo)
        self.assertIn(f"'{fifo}' is neither file, directory nor device", self.refused(*bind(fifo, "/x")))


class HostPaths(CriCase):
    """Kubernetes' hostPath volumes, where kubelet has checked that they are devices."""

    def test_two_containers(self):
        """One disk for both, and a container's nodes go with it."""
        node = self.loop_device(b"from the host\n")
        pod = self.run_pod("devices", linux={2: {6: 1}})
        mounts = [("/disk", node, False), ("/etc/x", "/dev/null", False)]
        # a rule for it, which a privileged container has without the host's devices no more than others
        more = {"devices": [("/dev/same", node)], "linux": {2: {2: 1}}}
        one = self.start(pod, "one", mounts=mounts, **more)
        two = self.start(pod, "two", mounts=mounts, **more)
        self.assertEqual(self.output(one, "stat", "-c", "%t:%T", "/disk", "/etc/x"),
                         self.output(two, "stat", "-c", "%t:%T", "/disk", "/etc/x"))
        self.output(one, "sh", "-c", "echo from one >/disk && echo x >/etc/x")
        self.output(two, "sh", "-c", "mkdir /guest; mount -t devtmpfs none /guest")
        self.assertEqual(sorted(self.output(two, "ls", "/guest/.mounts").split()), sorted([one, two]))
        self.cri("StopContainer", {1: one, 2: 0})
        self.cri("RemoveContainer", {1: one})
        self.assertEqual(self.output(two, "head", "-n", "1", "/disk"), "from one\n")
        self.output(two, "sh", "-c", "echo from two >/disk && sync")
        nodes = [os.path.join(self.root, name) for name in ("other", "full")]
        for path, numbers in zip(nodes, ((195, 77), (1, 7))):
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(*numbers))
            self.addCleanup(os.unlink, path)
        with self.assertRaises(rpc.RpcError) as caught:
            self.start(pod, "three", mounts=[("/full", nodes[1], False), ("/disk", node, False),
                                             ("/other", nodes[0], False)])
        self.assertIn("mount on '/other': the guest has no device c 195:77", str(caught.exception))
        self.assertEqual(self.output(two, "ls", "/guest/.mounts"), two + "\n")
        self.cri("StopContainer", {1: two, 2: 0})
        self.remove_pod(pod)
        with open(node, "rb") as f:
            self.assertEqual(f.readline(), b"from two\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
