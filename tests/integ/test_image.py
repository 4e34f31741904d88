# SPDX-License-Identifier: Apache-2.0
"""The image store: what archives become on disk, which ones are refused, and that a refusal,
a crash or a full disk leaves nothing behind.

    test_image.py STORE_TOOL KATA_UNPACK [unittest arguments]
"""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

import image_archives as ia
from image_archives import docker, folder, hardlink, item, symlink, tar

TOOL, UNPACKER = sys.argv[1:3] if len(sys.argv) > 2 else ("", "")
LIMIT = 60
IMPATIENT = {**os.environ, "STORE_TOOL_STALL_MS": "2000"}  # 20 s without it


class Store(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kata-image-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.root = os.path.join(self.dir, "store")
        self.canary = os.path.join(self.dir, "canary")
        with open(self.canary, "w", encoding="ascii") as f:
            f.write("untouched")

    def command(self, *args):
        return [TOOL, self.root, UNPACKER, *args]

    def run_tool(self, *args, data=None, unpacker_env=None):
        return subprocess.run(self.command(*args), input=data, capture_output=True, timeout=LIMIT,
                              check=False)

    def ok(self, *args, data=None):
        done = self.run_tool(*args, data=data)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout.decode()

    def load(self, data, *name):
        return self.ok("load", "-", *name, data=data)

    def ls(self, part):
        try:
            return sorted(os.listdir(os.path.join(self.root, part)))
        except FileNotFoundError:
            return []

    def assert_clean(self, images=0):
        self.assertEqual(self.ls("tmp"), [])
        self.assertEqual([n for n in self.ls("images") if n.endswith(".tmp")], [])
        self.assertEqual(len([n for n in self.ls("images") if n != "refs.json"]), images)
        if images == 0:
            self.assertEqual(self.ls("layers"), [])
        with open(self.canary, encoding="ascii") as f:
            self.assertEqual(f.read(), "untouched")

    def refused(self, data, *wanted, name=(), kind="INVALID"):
        """The load fails with all of these words in its message and leaves nothing."""
        done = self.run_tool("load", "-", *name, data=data)
        text = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, 1, text + done.stdout.decode())
        for word in (kind, *wanted):
            self.assertIn(word, text)
        self.assert_clean()
        return text

    def layers(self, name):
        """Directories of an image's layers, bottom to top."""
        out = self.ok("find", name)
        return [line[6:] for line in out.splitlines() if line.startswith("layer=")]

    def loaded(self, *layers, tags=("test:1",)):
        self.load(docker(list(layers), tags=tags))
        return self.layers(tags[0])

    def mount(self, layers):
        """What a container would see of these layers."""
        at = os.path.join(self.dir, "merged")
        os.makedirs(at, exist_ok=True)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        "lowerdir=" + ":".join(reversed(layers)), at], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", at], check=False)
        return at


class Contents(Store):
    def test_everything_a_layer_may_hold(self):
        long_name = "long/" + "n" * 250
        layer = tar(
            folder("./", mode=0o755), folder("dir", mode=0o2750, uid=7, gid=8, mtime=1234.5),
            item("dir/file", b"text", mode=0o4755, uid=1000, gid=1001, mtime=1500000000.25),
            symlink("abs", "/bin/busybox", uid=5), symlink("dangling", "../../../etc/shadow"),
            hardlink("again", "dir/file"), hardlink("link2", "./abs"),
            item("pipe", kind=tarfile.FIFOTYPE, mode=0o600),
            item("null", kind=tarfile.CHRTYPE, dev=(1, 3), mode=0o666),
            item("disk", kind=tarfile.BLKTYPE, dev=(7, 200), mode=0o660, gid=6),
            item(long_name, b"x"), item("odd\n\x01name", b"y"), item("caf\u00e9", b"nfc"),
            item("cafe\u0301", b"nfd"), symlink("e\u0301-link", "cafe\u0301"),
            hardlink("e\u0301-hard", "cafe\u0301"), item("big-uid", b"", uid=3000000, gid=4000000),
            item("attr", b"a", pax={"SCHILY.xattr.user.note": "hello"}),
            item("old", b"", mtime=-86400),
        )
        top = self.loaded(layer)[0]

        def st(name):
            return os.lstat(os.path.join(top, name))

        self.assertEqual(stat.S_IMODE(st("dir").st_mode), 0o2750)
        self.assertEqual((st("dir").st_uid, st("dir").st_gid), (7, 8))
        self.assertEqual(st("dir").st_mtime_ns, 1234500000000)
        self.assertEqual(stat.S_IMODE(st("dir/file").st_mode), 0o4755)
        self.assertEqual(st("dir/file").st_mtime_ns, 1500000000250000000)
        self.assertEqual(st("dir/file").st_nlink, 2)
        self.assertEqual(st("again").st_ino, st("dir/file").st_ino)
        self.assertEqual(os.readlink(top + "/abs"), "/bin/busybox")
        self.assertEqual(st("abs").st_uid, 5)
        self.assertEqual(os.readlink(top + "/link2"), "/bin/busybox")
        self.assertEqual(os.readlink(top + "/dangling"), "../../../etc/shadow")
        self.assertTrue(stat.S_ISFIFO(st("pipe").st_mode))
        self.assertEqual(st("null").st_rdev, os.makedev(1, 3))
        self.assertEqual(stat.S_IMODE(st("null").st_mode), 0o666)
        self.assertTrue(stat.S_ISBLK(st("disk").st_mode))
        self.assertEqual(st("disk").st_rdev, os.makedev(7, 200))
        self.assertEqual(st(long_name).st_size, 1)
        self.assertEqual(st("odd\n\x01name").st_size, 1)
        for name, data in (("caf\u00e9", b"nfc"), ("cafe\u0301", b"nfd")):
            with open(os.path.join(top, name), "rb") as f:
                self.assertEqual(f.read(), data)
        self.assertEqual(os.readlink(top + "/e\u0301-link"), "cafe\u0301")
        self.assertEqual(st("e\u0301-hard").st_ino, st("cafe\u0301").st_ino)
        self.assertEqual((st("big-uid").st_uid, st("big-uid").st_gid), (3000000, 4000000))
        self.assertEqual(os.getxattr(top + "/attr", "user.note"), b"hello")
        self.assertEqual(st("old").st_mtime, -86400)

    def test_file_capability(self):
        # cap_net_raw=ep, revision 2 of the on-disk form
        value = b"\x01\x00\x00\x02\x00\x20\x00\x00" + b"\x00" * 12
        raw = value.decode("latin-1")
        layer = tar(item("ping", b"x", mode=0o755, uid=0,
                         pax={"SCHILY.xattr.security.capability": raw}))
        top = self.loaded(layer)[0]
        self.assertEqual(os.getxattr(top + "/ping", "security.capability"), value)

    def test_labels_of_other_hosts_are_left_out(self):
        top = self.loaded(tar(item("f", b"", pax={"SCHILY.xattr.security.selinux": "x"})))[0]
        self.assertNotIn("security.selinux", os.listxattr(top + "/f"))

    def test_sparse(self):
        path = os.path.join(self.dir, "sparse")
        with open(path, "wb") as f:
            f.truncate(1 << 30)
            f.seek(500 << 20)
            f.write(b"middle")
        packed = subprocess.run(["tar", "-C", self.dir, "-S", "-c", "sparse"], check=True,
                                capture_output=True).stdout
        top = self.loaded(packed)[0]
        st = os.stat(top + "/sparse")
        self.assertEqual(st.st_size, 1 << 30)
        self.assertLess(st.st_blocks * 512, 1 << 20)
        with open(top + "/sparse", "rb") as f:
            f.seek(500 << 20)
            self.assertEqual(f.read(6), b"middle")

    def test_later_entries_win(self):
        top = self.loaded(tar(item("a", b"first"), item("a", b"second"), folder("d"), item("d/x", b"1"),
                              item("d", b"now a file"), item("f", b"file"), folder("f"),
                              item("f/in", b"2"), symlink("l", "a"), item("l", b"own")))[0]
        for name, data in (("a", b"second"), ("d", b"now a file"), ("f/in", b"2"), ("l", b"own")):
            with open(os.path.join(top, name), "rb") as f:
                self.assertEqual(f.read(), data)

    def test_leading_slash_is_the_layer(self):
        top = self.loaded(tar(folder("/etc"), item("/etc/x", b"1"), item("./etc/./y", b"2")))[0]
        self.assertEqual(sorted(os.listdir(top + "/etc")), ["x", "y"])

    def test_whiteouts(self):
        base = tar(folder("keep"), item("keep/a", b"a"), item("keep/b", b"b"), folder("gone"),
                   item("gone/x", b"x"), folder("fresh"), item("fresh/old", b"o"), folder("opq"),
                   item("opq/old", b"o"), folder("late"), item("late/old", b"o"), item("file", b"f"),
                   folder("deep"), folder("deep/er"), item("deep/er/old", b"o"))
        upper = tar(item("keep/.wh.a"), item(".wh.gone"), item(".wh.fresh"), folder("fresh"),
                    item("fresh/new", b"n"), folder("opq"), item("opq/.wh..wh..opq"),
                    item("opq/new", b"n"), folder("late"), item("late/new", b"n"), item(".wh.late"),
                    item(".wh.file"), item("file", b"F"), item(".wh.deep"), item("deep/er/new", b"n"),
                    item(".wh..wh.plnk"))
        merged = self.mount(self.loaded(base, upper))
        self.assertEqual(sorted(os.listdir(merged)),
                         ["deep", "file", "fresh", "keep", "late", "opq"])
        for name, inside in (("keep", ["b"]), ("fresh", ["new"]), ("opq", ["new"]), ("late", ["new"]),
                             ("deep", ["er"]), ("deep/er", ["new"])):
            self.assertEqual(os.listdir(os.path.join(merged, name)), inside)
        with open(merged + "/file", "rb") as f:
            self.assertEqual(f.read(), b"F")

    def test_directories_only_implied_keep_what_is_below(self):
        base = tar(folder("./", mode=0o711), folder("tmp", mode=0o1777), folder("home", uid=9, gid=9),
                   folder("home/me", mode=0o700, uid=1000, gid=1000, mtime=5000))
        middle = tar(item("other", b""))
        upper = tar(item("tmp/x", b"x"), item("home/me/.profile", b"p"), item("brand/new", b"n"))
        merged = self.mount(self.loaded(base, middle, upper))
        self.assertEqual(stat.S_IMODE(os.stat(merged).st_mode), 0o711)
        self.assertEqual(stat.S_IMODE(os.stat(merged + "/tmp").st_mode), 0o1777)
        me = os.stat(merged + "/home/me")
        self.assertEqual((stat.S_IMODE(me.st_mode), me.st_uid, me.st_mtime), (0o700, 1000, 5000))
        self.assertEqual(os.stat(merged + "/home").st_uid, 9)
        self.assertEqual(stat.S_IMODE(os.stat(merged + "/brand").st_mode), 0o755)


class Kinds(Store):
    LAYER = tar(folder("bin"), item("bin/sh", b"#!", mode=0o755))

    def test_configuration(self):
        run = {"Env": ["A=1", "B=two words"], "Cmd": ["sh"], "Entrypoint": ["/e"], "User": "1:2",
               "WorkingDir": "/w", "StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}},
               "Labels": {"k": "v"}, "Volumes": {"/data": {}}}
        config = ia.config_of([self.LAYER], run=run)
        self.load(docker([self.LAYER], config=config, tags=("host:5000/a/b:2",)))
        out = self.ok("find", "host:5000/a/b:2").splitlines()
        for line in ("env=A=1", "env=B=two words", "cmd=sh", "entrypoint=/e", "user=1:2", "workdir=/w",
                     "stop=SIGINT", "port=80/tcp", "label=k:v", "volume=/data",
                     "id=sha256:" + ia.sha(config)):
            self.assertIn(line, out)

    def test_compressed_layers_and_archives(self):
        packers = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
                   "zstd": lambda data: subprocess.run(["zstd", "-q"], input=data, check=True,
                                                       capture_output=True).stdout}
        # as pzstd makes it
        packers["skippable"] = lambda data: b"\x53*M\x18\x03\0\0\0abc" + packers["zstd"](data)
        for kind, pack in packers.items():
            with self.subTest(kind):
                self.load(docker([self.LAYER], pack=pack, tags=(f"in/{kind}:1",)))
                self.load(pack(docker([self.LAYER], tags=(f"out/{kind}:1",))))
                self.assertEqual(self.layers(f"in/{kind}:1"), self.layers(f"out/{kind}:1"))
        self.assertEqual(len(self.ls("layers")), 2)

    def test_from_a_file_and_legacy_links(self):
        files = ia.docker_files([self.LAYER, tar(item("x", b""))])
        items = [item(name, data) for name, data in files.items() if name != "1/layer.tar"]
        items += [item("real/layer.tar", files["1/layer.tar"]),
                  symlink("1/layer.tar", "../real/layer.tar")]
        path = os.path.join(self.dir, "misnamed.zip")
        with open(path, "wb") as f:
            f.write(tar(*items))
        self.ok("load", path)
        self.assertEqual(len(self.layers("test:1")), 2)

    def test_many_tags_none_and_a_given_name(self):
        self.load(docker([self.LAYER], tags=("a:1", "b:2", "c")))
        self.assertIn("docker.io/library/c:latest", self.ok("list"))
        out = self.load(docker([tar(item("y"))], tags=()))
        self.assertRegex(out.splitlines()[-1], r"^loaded sha256:[0-9a-f]{64}$")
        self.load(docker([self.LAYER]), "mine:7")
        self.assertIn("ref=docker.io/library/mine:7", self.ok("find", "mine:7"))

    def test_oci_archive(self):
        files = ia.oci_files([self.LAYER])
        self.load(ia.pack_files(files))
        manifest = json.loads(files["index.json"])["manifests"][0]["digest"]
        self.assertIn("manifest=" + manifest, self.ok("find", "oci:1"))
        self.assertIn("ref=", self.ok("find", "oci@" + manifest))

    def test_oci_layout_directory(self):
        at = os.path.join(self.dir, "layout")
        for name, data in ia.oci_files([self.LAYER], pack=lambda d: d, suffix="").items():
            os.makedirs(os.path.dirname(os.path.join(at, name)), exist_ok=True)
            with open(os.path.join(at, name), "wb") as f:
                f.write(data)
        self.ok("load", at)
        self.assertEqual(os.listdir(self.layers("oci:1")[0]), ["bin"])

    def platforms(self, *archs):
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        found = []
        for arch in archs:
            layer = tar(item("arch", arch.encode()))
            d = ia.oci_manifest(files, [layer], config=ia.config_of([layer], arch=arch))
            found.append(dict(d, platform={"os": "linux", "architecture": arch}))
        found.append(dict(found[0], platform={"os": "unknown", "architecture": "unknown"}))
        index = json.dumps({"schemaVersion": 2, "manifests": found}).encode()
        inner = dict(ia.blob(files, index), mediaType="application/vnd.oci.image.index.v1+json")
        inner["annotations"] = {"io.containerd.image.name": "example.com/multi:1"}
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [inner]}).encode()
        return ia.pack_files(files)

    def test_platforms(self):
        self.load(self.platforms(ia.OTHER_ARCH, ia.ARCH, "riscv64"))
        with open(self.layers("example.com/multi:1")[0] + "/arch", encoding="ascii") as f:
            self.assertEqual(f.read(), ia.ARCH)

    def test_platforms_none_fits(self):
        self.refused(self.platforms(ia.OTHER_ARCH, "riscv64"), "linux/" + ia.ARCH,
                     "linux/" + ia.OTHER_ARCH, "linux/riscv64", kind="UNSUPPORTED")

    def with_artifacts(self, *images):
        """Images between an SBOM by a manifest of its own, a signature as cosign makes it, and a blob
        of a foreign type."""
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        empty = dict(ia.blob(files, b"{}"), mediaType="application/vnd.oci.empty.v1+json")
        kind = "application/vnd.oci.image.manifest.v1+json"
        sbom = {"schemaVersion": 2, "mediaType": kind, "artifactType": "application/spdx+json",
                "config": empty, "layers": [dict(empty, mediaType="application/spdx+json")]}
        payload = dict(ia.blob(files, b'{"critical":{}}'),
                       mediaType="application/vnd.dev.cosign.simplesigning.v1+json")
        config = {"architecture": "", "os": "", "config": {},
                  "rootfs": {"type": "layers", "diff_ids": [payload["digest"]]}}
        signature = {"schemaVersion": 2, "mediaType": kind, "layers": [payload],
                     "config": dict(ia.blob(files, json.dumps(config).encode()),
                                    mediaType="application/vnd.oci.image.config.v1+json")}
        found = [dict(ia.blob(files, json.dumps(one).encode()), mediaType=kind)
                 for one in (sbom, signature)]
        for name in images:
            found.append(dict(ia.oci_manifest(files, [tar(item(name, b"x"))]),
                              annotations={"org.opencontainers.image.ref.name": "example.com/" + name}))
        found.append(dict(empty, mediaType="application/x-foreign"))
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": found}).encode()
        return ia.pack_files(files)

    def test_artifacts_beside_an_image(self):
        self.load(self.with_artifacts("a:1", "b:1"))
        for name in ("a:1", "b:1"):
            self.assertEqual(os.listdir(self.layers("example.com/" + name)[0]), [name])
        self.load(self.with_artifacts("c:1"), "named")
        self.assertEqual(os.listdir(self.layers("named")[0]), ["c:1"])

    def test_artifacts_alone(self):
        self.refused(self.with_artifacts(), "no image", "application/x-foreign", "oci.empty", "cosign",
                     kind="UNSUPPORTED")

    def test_one_name_for_two_images(self):
        self.refused(self.with_artifacts("a:1", "b:1"), "several images", name=("named",))

    def test_other_architecture(self):
        config = ia.config_of([self.LAYER], arch=ia.OTHER_ARCH)
        self.refused(docker([self.LAYER], config=config), "linux/" + ia.OTHER_ARCH,
                     kind="UNSUPPORTED")

    def test_architecture_in_the_kernels_words(self):
        config = ia.config_of([self.LAYER], arch=os.uname().machine)
        self.load(docker([self.LAYER], config=config))

    def test_rootfs_tar(self):
        self.load(gzip.compress(self.LAYER), "root/fs")
        self.assertEqual(os.listdir(self.layers("root/fs:latest")[0]), ["bin"])
        before = self.ok("find", "root/fs").splitlines()[0]
        self.load(self.LAYER, "root/again")
        self.assertEqual(self.ok("find", "root/again").splitlines()[0], before)

    def test_rootfs_with_a_manifest_of_its_own(self):
        self.load(tar(folder("bin"), item("manifest.json", b"not Docker's")), "app")
        self.assertEqual(sorted(os.listdir(self.layers("app")[0])), ["bin", "manifest.json"])

    def test_rootfs_tar_without_a_name(self):
        self.refused(self.LAYER, "docker-archive", "OCI", "name")

    def test_rootfs_directory(self):
        tree = os.path.join(self.dir, "tree")
        os.makedirs(tree + "/sub")
        with open(tree + "/sub/f", "wb") as f:
            f.write(b"data")
        os.chown(tree + "/sub/f", 12, 34)
        os.link(tree + "/sub/f", tree + "/hard")
        os.symlink("/etc/passwd", tree + "/soft")
        os.setxattr(tree + "/sub/f", "user.k", b"v")
        os.mknod(tree + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.chmod(tree + "/sub", 0o1777)
        os.makedirs(tree + "/caf\u00e9")
        self.ok("load", tree, "tree")
        top = self.layers("tree")[0]
        st = os.stat(top + "/sub/f")
        self.assertEqual((st.st_uid, st.st_gid, st.st_nlink, st.st_size), (12, 34, 2, 4))
        self.assertEqual(os.readlink(top + "/soft"), "/etc/passwd")
        self.assertEqual(os.getxattr(top + "/sub/f", "user.k"), b"v")
        self.assertEqual(os.stat(top + "/null").st_rdev, os.makedev(1, 3))
        self.assertEqual(stat.S_IMODE(os.stat(top + "/sub").st_mode), 0o1777)
        self.assertTrue(os.path.isdir(top + "/caf\u00e9"))
        self.assertEqual(os.listdir(tree + "/sub"), ["f"])

    def test_rootfs_directory_around_the_store(self):
        """It does not go into itself; nor do mounts, and sockets: all of it is counted."""
        mounted = os.path.join(self.dir, "mounted")
        os.makedirs(mounted)
        subprocess.run(["mount", "-t", "tmpfs", "none", mounted], check=True)
        self.addCleanup(subprocess.run, ["umount", mounted], check=True)
        with open(mounted + "/inside", "w", encoding="ascii") as f:
            f.write("inside")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(self.dir + "/socket")
        for _ in range(2):
            self.assertIn("left out: 1 mounts, 1 sockets, the store", self.ok("load", self.dir, "around"))
        for inside in ("", "tmp"):
            done = self.run_tool("load", os.path.join(self.root, inside), "inside")
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"the image store", done.stderr)
        self.ok("load", os.path.join(self.root, "layers"), "layers")
        top = self.layers("around")[0]
        self.assertEqual(sorted(os.listdir(top)), ["canary", "mounted", "store"])
        self.assertEqual(os.listdir(top + "/mounted") + os.listdir(top + "/store"), [])

    def test_rootfs_directory_with_a_name_of_layers(self):
        tree = os.path.join(self.dir, "tree")
        os.makedirs(tree + "/a")
        with open(tree + "/a/.wh.foo", "w", encoding="ascii") as f:
            f.write("data")
        done = self.run_tool("load", tree, "tree")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"a/.wh.foo': in an image", done.stderr)
        self.assert_clean()


class Hostile(Store):
    def bad_layer(self, *items, words=(), kind="INVALID"):
        self.refused(docker([tar(*items)]), *words, kind=kind)
        # the archive itself and a root file system go the same way
        self.refused(tar(*items), *words, name=("evil",), kind=kind)

    def test_escapes(self):
        self.bad_layer(item("../canary", b"x"), words=("'../canary'", ".."))
        self.bad_layer(item("a/../../canary", b"x"), words=("..",))
        self.bad_layer(item("/../canary", b"x"), words=("..",))
        self.bad_layer(symlink("d", self.dir), item("d/canary", b"x"),
                       words=("'d/canary'", "symbolic link"))
        self.bad_layer(symlink("d", ".."), folder("d/sub"), words=("symbolic link",))
        self.bad_layer(symlink("d", "/"), item("d/.wh.canary"), words=("symbolic link",))
        self.bad_layer(folder("r"), symlink("r/d", "/"), hardlink("x", "r/d/etc/passwd"),
                       words=("hard link", "symbolic link"))
        self.bad_layer(hardlink("x", self.canary), words=("'x'", "absolute"))
        self.bad_layer(hardlink("x", "../canary"), words=("..",))
        self.bad_layer(hardlink("x", "nowhere"), words=("no such file",))
        self.bad_layer(folder("d"), hardlink("x", "d"), words=("directory",))
        self.bad_layer(item("f", b""), item("f/g", b""), words=("no directory",))

    def test_writing_through_a_link_replaces_it(self):
        top = self.loaded(tar(symlink("f", self.canary), item("f", b"mine")))[0]
        self.assertTrue(stat.S_ISREG(os.lstat(top + "/f").st_mode))
        with open(self.canary, encoding="ascii") as f:
            self.assertEqual(f.read(), "untouched")

    def test_names(self):
        self.bad_layer(item("n" * 256, b""), words=("255",))
        self.bad_layer(item("/".join(["d"] * 300), b""), words=("deep",))
        self.bad_layer(item("/".join(["d" * 200] * 25), b""), words=("4095",))
        self.bad_layer(item(".wh...", b""), words=("whiteout",))
        self.bad_layer(item(".wh.", b""), words=("whiteout",))
        self.bad_layer(item(".", b"root as a file"), words=("must be a directory",))

    def test_overlay_forgeries(self):
        self.bad_layer(item("w", kind=tarfile.CHRTYPE, dev=(0, 0)), words=("0:0",))
        for name in ("trusted.overlay.redirect", "user.overlay.redirect", "trusted.x",
                     "security.unheard"):
            self.bad_layer(item("f", b"", pax={"SCHILY.xattr." + name: "/etc"}), words=(name,))

    def test_numbers(self):
        self.bad_layer(item("f", b"", uid=0xffffffff), words=("owner",))
        self.bad_layer(item("f", b"", gid=1 << 40), words=("owner",))
        self.bad_layer(item("f", b"", pax={"uid": "-1"}), words=("owner",))

    def test_digests(self):
        layer = tar(item("f", b"1"))
        files = ia.docker_files([layer])
        self.refused(ia.pack_files({**files, "0/layer.tar": tar(item("f", b"2"))}),
                     "layer 1 of 1", "does not match")
        name = next(n for n in files if n.endswith(".json") and n != "manifest.json")
        self.refused(ia.pack_files({**files, name: files[name] + b" "}), "does not match")
        files = ia.oci_files([layer])
        for name in (n for n in files if n.startswith("blobs/")):
            data = bytearray(files[name])
            data[len(data) // 2] ^= 1
            self.refused(ia.pack_files({**files, name: bytes(data)}))
            self.refused(ia.pack_files({**files, name: files[name][:-1]}), "bytes")
            self.refused(ia.pack_files({n: d for n, d in files.items() if n != name}), "incomplete")

    def test_blob_must_match_even_if_its_contents_do(self):
        layer = tar(item("f", b"1"))
        files = ia.oci_files([layer])
        blob = next(n for n, d in files.items() if d[:2] == b"\x1f\x8b")
        other = gzip.compress(layer, mtime=77)
        self.assertEqual(len(other), len(files[blob]))
        self.refused(ia.pack_files({**files, blob: other}), "digest does not match")
        self.load(ia.pack_files(files))  # nor is a blob not looked at whose layer is there
        done = self.run_tool("load", "-", data=ia.pack_files({**files, blob: other}))
        self.assertIn(b"digest does not match", done.stderr)
        self.assert_clean(images=1)
        done = self.run_tool("load", "-", data=ia.pack_files({n: d for n, d in files.items() if n != blob}))
        self.assertIn(b"incomplete", done.stderr)
        self.assert_clean(images=1)

    def test_documents(self):
        layer = tar(item("f", b"1"))
        files = ia.docker_files([layer])
        for text in (b"", b"[]", b"{}", b"[1]", b'[{"Config":1}]', b'[{"Config":"x","Layers":3}]',
                     b"[" * 100000, b'[{"Config":"missing","Layers":[]}]', b"\xff\xfe", b"nul\0l"):
            self.refused(ia.pack_files({**files, "manifest.json": text}))
        huge = b"[" + b" " * (5 << 20) + b"]"
        self.refused(ia.pack_files({**files, "manifest.json": huge}), "4194304")
        many = json.dumps([{"Config": "c", "Layers": ["l"] * 600}]).encode()
        self.refused(ia.pack_files({**files, "manifest.json": many}), "512")
        bad = json.dumps([{"Config": "c.json", "RepoTags": ["UPPER CASE"], "Layers": []}]).encode()
        config = ia.config_of([])
        self.refused(ia.pack_files({"manifest.json": bad, "c.json": config}), "UPPER CASE")
        config = ia.config_of([layer], diff_ids=["sha512:" + "0" * 128])
        self.refused(docker([layer], config=config), "sha512", kind="UNSUPPORTED")
        config = ia.config_of([layer], diff_ids=["sha256:" + "0" * 64] * 2)
        self.refused(docker([layer], config=config), "lists 2")

    def test_files_of_the_archive_that_are_none(self):
        for evil in (symlink("0/layer.tar", self.canary), symlink("0/layer.tar", "/etc/passwd"),
                     item("0/layer.tar", kind=tarfile.FIFOTYPE),
                     item("0/layer.tar", kind=tarfile.CHRTYPE, dev=(1, 5)), folder("0/layer.tar")):
            files = ia.docker_files([tar(item("f", b""))])
            del files["0/layer.tar"]
            self.refused(tar(*[item(n, d) for n, d in files.items()], evil))

    def test_truncated_everywhere(self):
        layer = tar(folder("d"), item("d/f", os.urandom(3000)))
        for whole in (docker([layer]), gzip.compress(docker([layer])),
                      ia.pack_files(ia.oci_files([layer]))):
            # behind the last byte that is not padding there may be any number of zero blocks
            end = len(whole.rstrip(b"\0"))
            for cut in sorted({1, 5, 100, 511, 512, 513, 1024, 1536, 2048, end // 2, end * 3 // 4,
                               end - 1, end - end % 512, end - end % 512 + 1024}):
                if cut <= end or end % 512:
                    self.refused(whole[:cut] if cut < len(whole) else whole[:end - 1])
        for cut in (0, 1, 511, 512, 1000, 1536, 3000, 4608):
            self.refused(layer[:cut], name=("cut",))
        self.refused(gzip.compress(layer)[:-4], name=("cut",))

    def test_rubbish(self):
        for data in (os.urandom(5000), b"PK\x03\x04" + bytes(2000), b"\x1f\x8b\x08" + os.urandom(900),
                     b"hello\n" * 200, b"\x28\xb5\x2f\xfd" + os.urandom(900), b"#!/bin/sh\n"):
            self.refused(data, name=("rubbish",))

    def test_bomb(self):
        # 3 TiB of zeros behind a few kilobytes: a tar header that says so, and gzip of gzip
        head = item("zero", b"")[0]
        head.size = 3 << 40
        bomb = head.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
        self.refused(bomb, name=("bomb",))
        self.refused(docker([bomb]))

    def test_bytes_behind_the_end(self):
        """tar ignores them, and so does who made a layer's digest of the whole."""
        layer = tar(item("f", b"1"))
        behind = b"trailing" + os.urandom(20000)
        for n, whole in enumerate((docker([layer], tags=("behind:0",)) + behind,
                                   docker([layer + behind], tags=("behind:1",)), layer + behind)):
            with self.subTest(n=n):
                self.load(whole, *(["behind:2"] if n == 2 else []))
                self.assertEqual(os.listdir(self.layers(f"behind:{n}")[0]), ["f"])

    def test_zeros_without_end(self):
        for head in (b"", docker([tar(item("f", b"1"))])):
            with tempfile.TemporaryFile(dir=self.dir) as f:
                f.write(head)
                f.truncate(len(head) + (100 << 20))
                f.seek(0)
                done = subprocess.run(self.command("load", "-"), stdin=f, capture_output=True,
                                      timeout=LIMIT, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"more than 64 MiB follow the end", done.stderr)
            self.assert_clean()

    def test_nothing_in_it(self):
        """A download that never came: zeroes are an empty tar."""
        self.refused(bytes(20480), name=("nothing",))

    def test_unknown_verb_of_the_helper(self):
        done = subprocess.run([UNPACKER, "sh"], capture_output=True, timeout=LIMIT, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"usage", done.stderr)

    def test_stalled_pipe(self):
        # an empty pipe held open must not hang it
        with subprocess.Popen(self.command("load", "-"), stdin=subprocess.PIPE, env=IMPATIENT,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            p.stdin.write(docker([tar(item("f", b"1"))])[:700])
            p.stdin.flush()
            p.wait(timeout=45)
            self.assertIn(b"TIMEOUT", p.stderr.read())
        self.assert_clean()

    def test_fifo_that_nobody_writes_to(self):
        fifo = os.path.join(self.dir, "fifo")
        os.mkfifo(fifo)
        done = subprocess.run(self.command("load", fifo), capture_output=True, timeout=LIMIT,
                              check=False, env=IMPATIENT)
        self.assertIn(b"TIMEOUT", done.stderr)
        self.assert_clean()


class Life(Store):
    def test_shared_layers_and_removal(self):
        base, one, two = tar(folder("base")), tar(folder("one")), tar(folder("two"))
        first = self.loaded(base, one, tags=("one:1",))
        second = self.loaded(base, two, tags=("two:1",))
        self.assertEqual(first[0], second[0])
        self.assertNotEqual(first[1], second[1])
        self.assertIn("deleted", self.ok("rmi", "one:1"))
        self.assertTrue(os.path.isdir(second[0]))
        self.assertFalse(os.path.exists(first[1]))
        self.ok("rmi", "two:1")
        self.assert_clean()

    def test_same_diff_on_another_base_is_another_layer(self):
        top = tar(item("t", b""))
        first = self.loaded(tar(folder("a")), top, tags=("a:1",))
        second = self.loaded(tar(folder("b")), top, tags=("b:1",))
        self.assertNotEqual(first[1], second[1])

    def test_find_and_remove_by_id(self):
        self.loaded(tar(item("x", b"1")), tags=("x:1", "x:2"))
        image = self.ok("find", "x:1").splitlines()[0][len("id=sha256:"):]
        for name in (image, "sha256:" + image, image[:12], "sha256:" + image[:9]):
            self.assertIn("id=sha256:" + image, self.ok("find", name))
        done = self.run_tool("rmi", image)
        self.assertIn(b"STATE", done.stderr)
        self.assertIn("untagged docker.io/library/x:1", self.ok("rmi", "x:1"))
        self.assertIn("deleted", self.ok("rmi", image[:12]))
        done = self.run_tool("find", "x:2")
        self.assertIn(b"NOT_FOUND: image 'x:2'", done.stderr)

    def test_tag_moves(self):
        self.loaded(tar(item("x", b"1")), tags=("x:1",))
        old = self.ok("find", "x:1").splitlines()[0]
        self.loaded(tar(item("x", b"2")), tags=("x:1",))
        self.assertNotEqual(self.ok("find", "x:1").splitlines()[0], old)
        self.assertIn(old, self.ok("list"))

    def test_lease(self):
        layer = self.loaded(tar(item("x", b"1")), tags=("x:1",))[0]
        image = self.ok("find", "x:1").splitlines()[0][3:]
        self.ok("lease", "box", image)
        self.assertIn(b"EXISTS", self.run_tool("lease", "box", image).stderr)
        done = self.run_tool("rmi", "x:1")
        self.assertIn(b"STATE", done.stderr)
        self.assertIn(b"'box'", done.stderr)
        out = self.ok("rmi", "x:1", "force")
        self.assertNotIn("deleted", out)
        self.assertTrue(os.path.exists(layer + "/x"))
        self.assertIn(b"'box'", self.run_tool("rmi", image).stderr)
        self.ok("unlease", "box")
        self.assertIn("deleted", self.ok("rmi", image))
        self.assertIn(b"NOT_FOUND", self.run_tool("lease", "box", image).stderr)
        self.assert_clean()

    def test_other_version(self):
        self.loaded(tar(item("x", b"1")))
        with open(self.root + "/version", "w", encoding="ascii") as f:
            f.write("kata image store, format 2\n")
        before = sorted(os.walk(self.root))
        for args in (("list",), ("find", "test:1"), ("rmi", "test:1"), ("load", "/dev/null")):
            done = self.run_tool(*args)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"UNSUPPORTED", done.stderr)
            self.assertIn(b"format 2", done.stderr)
        self.assertEqual(sorted(os.walk(self.root)), before)

    def test_not_a_store(self):
        """`kata --root /` would otherwise take the host's /tmp for its own."""
        for name in ("images", "tmp", "some file"):
            with self.subTest(name):
                inner = os.path.join(self.root, name, "deadbeef" * 4)
                os.makedirs(inner)
                done = self.run_tool("list")
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"not empty ('{name}')".encode(), done.stderr)
                self.assertEqual(os.listdir(self.root), [name])
                self.assertTrue(os.path.isdir(inner))
                shutil.rmtree(self.root)

    def test_new_file_system(self):
        for name in ("lost+found", "containers", "version.0123.tmp"):
            os.makedirs(os.path.join(self.root, name))
        self.ok("list")

    def test_foreign_work(self):
        """Directories that are not named as the store names them are somebody's."""
        self.ok("list")
        os.makedirs(self.root + "/tmp/precious")
        os.makedirs(self.root + "/tmp/" + "deadbeef" * 4)
        self.ok("list")
        self.assertEqual(self.ls("tmp"), ["precious"])

    def test_begun_by_two(self):
        """Neither takes what the other has just made for somebody else's."""
        for _ in range(10):
            both = [subprocess.Popen(self.command("list"), stderr=subprocess.PIPE) for _ in range(6)]
            for p in both:
                self.assertEqual((p.communicate(timeout=LIMIT)[1], p.returncode), (b"", 0))
            shutil.rmtree(self.root)

    def test_ordinary_user(self):
        done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", "--regid", "65534",
                               TOOL, "/nowhere", UNPACKER, "list"], capture_output=True,
                              timeout=LIMIT, check=False)
        if done.returncode in (126, 127):
            self.skipTest("an ordinary user cannot reach the program under test")
        self.assertIn(b"DENIED", done.stderr)
        self.assertIn(b"root", done.stderr)

    def test_two_at_once(self):
        layers = [tar(folder("d"), item("d/f", os.urandom(4 << 20))) for _ in range(3)]
        path = os.path.join(self.dir, "a.tar")
        with open(path, "wb") as f:
            f.write(docker(layers))
        running = [subprocess.Popen(self.command("load", path), stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE) for _ in range(4)]
        for p in running:
            _, err = p.communicate(timeout=LIMIT)
            self.assertEqual(p.returncode, 0, err)
        self.assertEqual(len(self.layers("test:1")), 3)
        self.assertEqual(len(self.ls("layers")), 6)
        self.assert_clean(images=1)

    def test_removal_during_a_load(self):
        base = tar(folder("base"))
        self.loaded(base, tags=("old:1",))
        archive = docker([base, tar(item("new", b"n"))], tags=("new:1",))
        with subprocess.Popen(self.command("load", "-"), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            p.stdin.write(archive[:2000])
            p.stdin.flush()
            p.stdout.readline()
            self.ok("rmi", "old:1")
            _, err = p.communicate(archive[2000:], timeout=LIMIT)
            self.assertEqual(p.returncode, 0, err)
        for layer in self.layers("new:1"):
            self.assertTrue(os.path.isdir(layer))
        self.ok("rmi", "new:1")
        self.assert_clean()

    def test_killed_in_the_middle(self):
        archive = docker([tar(item(f"f{i}", os.urandom(300000))) for i in range(6)])
        path = os.path.join(self.dir, "a.tar")
        with open(path, "wb") as f:
            f.write(archive)
        for delay in (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08):
            with subprocess.Popen(self.command("load", path), stdout=subprocess.PIPE) as p:
                p.stdout.readline()
                time.sleep(delay)
                p.send_signal(signal.SIGKILL)
            # a helper of the dead loader may live for a moment and keep its directory busy
            deadline = time.monotonic() + 10
            while self.ok("list") is not None and self.ls("tmp") and time.monotonic() < deadline:
                time.sleep(0.02)
            self.assertEqual(self.ls("tmp"), [])
            known = [line for line in self.ok("list").splitlines() if line.startswith("layer=")]
            self.assertEqual(len(self.ls("layers")), 2 * len(known))
        self.ok("load", path)
        self.assertEqual(len(self.layers("test:1")), 6)

    def status(self, pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)

    def test_helper_is_confined_and_dies_with_the_loader(self):
        with subprocess.Popen(self.command("load", "-"), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as p:
            p.stdin.write(docker([tar(item("f", b"1"))])[:700])
            p.stdin.flush()
            p.stdout.readline()
            found = None
            deadline = time.monotonic() + 10
            while not found and time.monotonic() < deadline:
                with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                    for child in f.read().split():
                        if self.status(child)["NoNewPrivs"].strip() == "1":
                            found = child
                time.sleep(0.01)
            self.assertTrue(found, "no confined helper was seen")
            status = self.status(found)
            # CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP and nothing else
            allowed = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 27 | 1 << 31
            for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
                self.assertEqual(int(status[name], 16) & ~allowed, 0, name)
            with open(f"/proc/{found}/mountinfo", encoding="utf-8") as f:
                mounts = f.read().splitlines()
            self.assertEqual(len(mounts), 1, mounts)
            self.assertIn("nosuid", mounts[0])
            self.assertIn("nodev", mounts[0])
            with open(f"/proc/{found}/net/dev", encoding="ascii") as f:
                self.assertEqual([line.split(":")[0].strip() for line in f][2:], ["lo"])
            # its streams and report, then nothing but directories and files of its layer
            kinds = {fd: os.stat(f"/proc/{found}/fd/{fd}") for fd in os.listdir(f"/proc/{found}/fd")}
            for fd, st in kinds.items():
                if int(fd) > 3:
                    self.assertEqual(st.st_dev, os.stat(self.root).st_dev)
            p.kill()
        deadline = time.monotonic() + 10
        while os.path.exists("/proc/" + found) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertFalse(os.path.exists("/proc/" + found))


class FullDisk(Store):
    def setUp(self):
        super().setUp()
        os.makedirs(self.root)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=711", "tmpfs", self.root],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.root], check=False)

    def test_too_large(self):
        text = self.refused(docker([tar(item("f", os.urandom(12 << 20)))]), self.root, "MiB", "free",
                            kind="SYS")
        self.assertIn("No space left", text)
        small = tar(item("f", b"1"))
        self.load(docker([small]))
        self.refused_but_kept(docker([tar(item("f", os.urandom(3 << 20))),
                                      tar(item("g", os.urandom(3 << 20)))], tags=("big:1",)))
        self.assertEqual(os.listdir(self.layers("test:1")[0]), ["f"])

    def test_file_systems_without_a_size(self):
        for kind, options in (("tmpfs", "size=0"), ("ramfs", "mode=711")):
            with self.subTest(kind=kind):
                subprocess.run(["mount", "-t", kind, "-o", options, "kata-test", self.root], check=True)
                try:
                    os.chmod(self.root, 0o711)
                    self.load(docker([tar(item("f", b"1"))]))
                    self.assertEqual(os.listdir(self.layers("test:1")[0]), ["f"])
                finally:
                    subprocess.run(["umount", "-l", self.root], check=True)

    def test_read_only(self):
        """What only looks works; the rest says why not."""
        self.load(docker([tar(item("f", b"1"))]))
        subprocess.run(["mount", "-o", "remount,ro", self.root], check=True)
        try:
            self.assertIn("test:1", self.ok("list"))
            self.assertEqual(os.listdir(self.layers("test:1")[0]), ["f"])
            for args in (("rmi", "test:1"), ("load", "-")):
                done = self.run_tool(*args, data=docker([tar(item("g", b"1"))]))
                self.assertEqual(done.returncode, 1)
                self.assertIn(b"Read-only file system", done.stderr)
        finally:
            subprocess.run(["mount", "-o", "remount,rw", self.root], check=True)

    def test_removal_makes_room(self):
        self.load(docker([tar(item("f", os.urandom(2 << 20)))]))
        with self.assertRaises(OSError), open(self.root + "/filler", "wb", buffering=0) as f:
            while True:
                f.write(bytes(4096))
        self.assertIn("deleted", self.ok("rmi", "test:1"))
        self.assert_clean()

    def test_removal_without_an_inode_to_spare(self):
        self.load(docker([tar(item("f", b"x"))]))
        used = os.statvfs(self.root)
        subprocess.run(["mount", "-o", f"remount,nr_inodes={used.f_files - used.f_ffree}", self.root],
                       check=True)
        self.assertIn("deleted", self.ok("rmi", "test:1"))
        self.assert_clean()

    def test_removal_without_a_block_to_spare(self):
        disk = os.path.join(self.dir, "disk")
        with open(disk, "wb") as f:
            f.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
        subprocess.run(["mount", "-o", "loop", disk, self.root], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.root], check=False)
        os.rmdir(os.path.join(self.root, "lost+found"))
        os.chmod(self.root, 0o711)
        self.load(docker([tar(item("f", b"x" * 9000))]))
        for size in (65536, 4096, 1024, 1):
            with self.assertRaises(OSError), open(self.root + "/filler", "ab", buffering=0) as f:
                while True:
                    f.write(bytes(size))
        with self.assertRaises(OSError):
            os.mkdir(self.root + "/more")
        self.assertIn("deleted", self.ok("rmi", "test:1"))
        self.assert_clean()

    def refused_but_kept(self, data):
        done = self.run_tool("load", "-", data=data)
        self.assertIn(b"no room", done.stderr)
        self.assert_clean(images=1)

    def test_bomb(self):
        with io.BytesIO() as out:
            with gzip.GzipFile(fileobj=out, mode="wb") as f:
                f.write(tar(item("zero", bytes(200 << 20))))
            bomb = out.getvalue()
        self.assertLess(len(bomb), 1 << 20)
        self.refused(docker([bomb], config=ia.config_of([], diff_ids=["sha256:" + "0" * 64])), "room",
                     kind="SYS")

    def test_many_small_files(self):
        items = [item(f"f{i}", b"x") for i in range(3000)]
        self.refused(tar(*items), name=("small",), kind="SYS")

    def test_no_inodes(self):
        subprocess.run(["mount", "-o", "remount,nr_inodes=60", self.root], check=True)
        self.refused(tar(*[item(f"f{i}", b"x") for i in range(100)]), "files free", name=("small",),
                     kind="SYS")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("SKIP: the image store needs root")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
