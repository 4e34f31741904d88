# SPDX-License-Identifier: Apache-2.0
"""Root file systems of several mounts that name each other, as containerd's EROFS snapshotter
gives them to a shim that announces so."""
import os
import shutil
import struct
import subprocess
import unittest

import grpc_client as rpc
from engine_case import INVALID, UNSUPPORTED, EngineCase
from kata_case import BIN

LAB = "full"
TIMEOUT_S = 600

LOOK = """
grep ' / ' /proc/mounts
cat /which /lower /upper-only 2>&1
ls /gone 2>&1
ls /dir
echo written > /written; echo changed > /which; rm /lower; cat /which
ls -l /dev/vd* 2>&1
"""


def file_at(root, name, text):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


class Layers(EngineCase):
    def tree(self, name):
        path = os.path.join(self.root, f"{self._testMethodName}.{name}")
        os.makedirs(path)
        return path

    def erofs(self, name, tree, *options):
        path = os.path.join(self.root, f"{self._testMethodName}.{name}.erofs")
        subprocess.run(["mkfs.erofs", *options, path, tree], check=True, timeout=60,
                       stdout=subprocess.DEVNULL)
        return path

    def layers(self):
        """The top layer first, as containerd names them."""
        base, middle, top = self.tree("base"), self.tree("middle"), self.tree("top")
        shutil.copytree(self.rootfs, base, symlinks=True, dirs_exist_ok=True)
        for name in ("which", "lower", "gone", "dir/base"):
            file_at(base, name, f"base {name}\n")
        file_at(middle, "which", "middle\n")
        os.mknod(os.path.join(middle, "gone"), 0o600 | 0o020000, 0)  # a whiteout
        file_at(middle, "dir/middle", "x")
        file_at(top, "which", "top\n")
        file_at(top, "upper-only", "top alone\n")
        return [self.erofs("top", top), self.erofs("middle", middle), self.erofs("base", base)]

    def disk(self):
        path = os.path.join(self.root, self._testMethodName + ".rw")
        with open(path, "wb") as f:
            f.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", path], check=True, timeout=60)
        return path

    def chain_on_disk(self, disk, files):
        last = len(files)
        return [{1: "ext4", 2: disk, 4: ["rw", "loop"]},
                *({1: "erofs", 2: f, 4: ["ro", "loop"]} for f in files),
                {1: "format/mkdir/overlay", 2: "overlay", 4: [
                    "X-containerd.mkdir.path={{ mount 0 }}/upper:0755",
                    "X-containerd.mkdir.path={{ mount 0 }}/work:0755",
                    "workdir={{ mount 0 }}/work", "upperdir={{ mount 0 }}/upper",
                    f"lowerdir={{{{ overlay 1 {last} }}}}" if last > 1
                    else "lowerdir={{ mount 1 }}"]}]

    def chain_on_directory(self, directory, files):
        return [*({1: "erofs", 2: f, 4: ["ro", "loop"]} for f in files),
                {1: "format/mkdir/overlay", 2: "overlay", 4: [
                    f"workdir={directory}/work", f"upperdir={directory}/fs",
                    f"lowerdir={{{{ overlay 0 {len(files) - 1} }}}}"]}]

    def run_from(self, mounts, *command, ident="x"):
        bundle = self.bundle if ident == "x" else self.make_bundle(ident)
        self.write_spec(bundle, self.spec(*command, root={"path": "rootfs"}))
        out = os.path.join(bundle, "out")
        self.task("Create", {1: ident, 2: bundle, 3: mounts, 5: "", 6: f"file://{out}",
                             7: f"file://{out}"})
        self.task("Start", {1: ident})
        status = rpc.number(self.task("Wait", {1: ident}), 1)
        self.task("Delete", {1: ident})
        with open(out, encoding="utf-8") as f:
            return status, f.read()

    def look(self, mounts):
        self.start_engine()
        status, out = self.run_from(mounts, "sh", "-c", LOOK)
        self.assertEqual(status, 1, out)  # of the last ls
        self.assertIn("top\nbase lower\ntop alone\n", out)
        self.assertIn("/gone: No such file", out)
        self.assertIn("base\nmiddle\nchanged\n", out)
        self.assertIn("/dev/vd*: No such file", out)
        self.task("Shutdown", {1: "x"})
        return out

    def on_disk(self, disk, name):
        return subprocess.run(["debugfs", "-R", f"cat {name}", disk], capture_output=True,
                              text=True, timeout=30, check=True).stdout

    def test_three_layers_and_a_disk(self):
        disk, files = self.disk(), self.layers()
        out = self.look(self.chain_on_disk(disk, files))
        self.assertRegex(out, r"(?m)^overlay / overlay rw\S*")
        self.assertEqual(self.on_disk(disk, "/upper/written"), "written\n")
        self.assertEqual(self.on_disk(disk, "/upper/which"), "changed\n")

    def test_layer_that_looks_like_a_partition_table(self):
        """What the kernel makes of the first sector is not in the way of where layers lie."""
        disk, files = self.disk(), self.layers()
        with open(files[0], "r+b") as f:  # EROFS begins at 1024
            for number, (first, sectors) in enumerate(((1, 9), (10, 100))):
                f.seek(446 + 16 * number)
                f.write(bytes((0, 0, 0, 0, 0x83, 0, 0, 0)) + struct.pack("<II", first, sectors))
            f.seek(510)
            f.write(b"\x55\xaa")
        self.look(self.chain_on_disk(disk, files))

    def test_three_layers_and_a_directory(self):
        """What is written is the host's: the mounts are made there, as containerd would."""
        files, upper = self.layers(), self.tree("snapshot")
        for name in ("fs", "work"):
            os.mkdir(os.path.join(upper, name))
        out = self.look(self.chain_on_directory(upper, files))
        self.assertRegex(out, r"(?m)^(kataShared|none|\S+) / (virtiofs|9p) rw")
        with open(os.path.join(upper, "fs/written"), encoding="ascii") as f:
            self.assertEqual(f.read(), "written\n")
        self.assertEqual(os.stat(os.path.join(upper, "fs/lower")).st_rdev, 0)

    def test_one_layer_to_read(self):
        base = self.tree("base")
        shutil.copytree(self.rootfs, base, symlinks=True, dirs_exist_ok=True)
        file = self.erofs("base", base)
        self.start_engine()
        status, out = self.run_from({1: "erofs", 2: file, 4: ["ro", "loop"]}, "sh", "-c",
                                    "grep ' / ' /proc/mounts; touch /x")
        self.assertEqual(status, 1, out)
        self.assertRegex(out, r"/dev/vd\w / erofs ro")
        self.assertIn("Read-only", out)
        self.task("Shutdown", {1: "x"})

    def test_several_layers_to_read(self):
        files = self.layers()
        self.start_engine()
        status, out = self.run_from(
            [*({1: "erofs", 2: f, 4: ["ro", "loop"]} for f in files),
             {1: "format/mkdir/overlay", 2: "overlay", 4: ["lowerdir={{ overlay 0 2 }}"]}],
            "sh", "-c", "cat /which; touch /x")
        self.assertEqual((status, out.splitlines()[0]), (1, "top"))
        self.assertIn("Read-only", out)
        self.task("Shutdown", {1: "x"})

    def test_data_in_another_file(self):
        """A merged image: the metadata of all layers, the data in the layers' files."""
        base = self.tree("base")
        shutil.copytree(self.rootfs, base, symlinks=True, dirs_exist_ok=True)
        blob = os.path.join(self.root, self._testMethodName + ".blob")
        with open(blob, "x", encoding="ascii"):
            pass  # mkfs.erofs 1.8 wants it to exist
        file = self.erofs("meta", base, f"--blobdev={blob}", "--chunksize=4096")
        size = os.path.getsize(blob)
        with open(blob, "ab") as f:
            f.truncate((size + 4095) // 4096 * 4096)
        disk = self.disk()
        chain = self.chain_on_disk(disk, [file])
        chain[1][4].append(f"device={blob}")
        self.start_engine()
        status, out = self.run_from(chain, "sh", "-c", "echo kept > /kept; echo $((6 * 7))")
        self.assertEqual((status, out), (0, "42\n"))
        self.task("Shutdown", {1: "x"})
        self.assertEqual(self.on_disk(disk, "/upper/kept"), "kept\n")

    def test_many_layers(self):
        """More than a page of mount options, and more partitions than a disk has minors."""
        base, files = self.tree("base"), []
        shutil.copytree(self.rootfs, base, symlinks=True, dirs_exist_ok=True)
        for i in range(119):
            layer = self.tree(str(i))
            file_at(layer, "which", f"{i}\n")
            file_at(layer, f"all/{i}", "x")
            files.insert(0, self.erofs(str(i), layer))
        files.append(self.erofs("base", base))
        self.start_engine()
        status, out = self.run_from(self.chain_on_disk(self.disk(), files), "sh", "-c",
                                    "cat /which; ls /all | wc -l")
        self.assertEqual((status, out), (0, "118\n119\n"))
        self.task("Shutdown", {1: "x"})

    def test_layers_of_two_containers(self):
        """The same layers are one disk, with one set of mounts, while both live."""
        files, first, second = self.layers(), self.disk(), None
        second = first + "2"
        shutil.copy(first, second)
        self.start_engine()
        self.write_spec(self.bundle, self.spec("sleep", "1000", root={"path": "rootfs"}))
        self.task("Create", {1: "x", 2: self.bundle, 3: self.chain_on_disk(first, files)})
        self.task("Start", {1: "x"})
        status, out = self.run_from(self.chain_on_disk(second, files), "sh", "-c",
                                    "cat /which; echo two > /two; ls /sys/block", ident="y")
        self.assertEqual(status, 0, out)
        self.assertEqual(out.splitlines()[0], "top")
        self.assertEqual(out.count("vd"), 3, out)
        self.task("Kill", {1: "x", 3: 9})
        self.task("Wait", {1: "x"})
        self.task("Delete", {1: "x"})
        self.task("Shutdown", {1: "x"})
        self.assertEqual(self.on_disk(second, "/upper/two"), "two\n")

    def test_refused_by_name(self):
        files, disk = self.layers(), self.disk()
        self.start_engine()

        def changed(change):
            chain = self.chain_on_disk(disk, files)
            change(chain)
            return {1: "x", 2: self.bundle, 3: chain}

        self.write_spec(self.bundle, self.spec("true", root={"path": "rootfs"}))
        with open(files[0] + ".odd", "wb") as f:
            f.write(b"x" * 777)
        for change, kind, words in (
                (lambda c: c[1].update({2: "/nowhere.erofs"}), None, ("/nowhere.erofs",)),
                (lambda c: c[1].update({2: files[0] + ".odd"}), INVALID, ("777 bytes",)),
                (lambda c: c[4].update({1: "format/zip/overlay"}), UNSUPPORTED, ("'zip'",)),
                (lambda c: c[0].update({1: "mkfs/ext4"}), UNSUPPORTED, ("'mkfs'",)),
                (lambda c: c[4][4].append("x={{ source 0 }}"), UNSUPPORTED, ("'source'",)),
                (lambda c: c[4][4].append("x={{ mount 4 }}"), INVALID, ("no mount before",)),
                (lambda c: c[4][4].append("x={{ mount }}"), INVALID, ("no mount before",)),
                (lambda c: c[4][4].append("x={{ overlay 0 9 }}"), INVALID, ("no mount before",)),
                (lambda c: c[1][4].append("X-containerd.dmverity=/x"), UNSUPPORTED,
                 ("dmverity_mode",)),
                (lambda c: c[4][4].append("uidmap=0:1:2"), UNSUPPORTED, ("uidmap",)),
                (lambda c: c[4].update({3: "/below"}), UNSUPPORTED, ("/below",)),
        ):
            with self.assertRaises(rpc.RpcError) as caught:
                self.task("Create", changed(change))
            for word in words:
                self.assertIn(word, str(caught.exception))
            if kind:
                self.assertEqual(caught.exception.code, kind, str(caught.exception))
        self.task("Shutdown", {1: "x"})

    def test_announced(self):
        """containerd reads from -info what it is to leave to the shim."""
        done = subprocess.run([os.path.join(BIN, "containerd-shim-kata-v2"), "-info"],
                              capture_output=True, check=True, timeout=10)
        self.assertIn(b"containerd.io/runtime-allow-mounts\x12\x16mkdir/*,format/*,erofs",
                      done.stdout)


if __name__ == "__main__":
    unittest.main()
