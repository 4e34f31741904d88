#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Tests of guest/: archives, module tables, kernel images, the cache. No network, no VM.

Packages come from a stand-in for apt that serves a kernel package made here.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUEST = os.path.join(ROOT, "guest")
sys.path.insert(0, GUEST)

from guestlib import busybox, common, cpio, distro, kconfig, kmod, vmlinux  # noqa: E402

RELEASE = "6.1.0-99-amd64"
PACKAGE = "linux-image-" + RELEASE


def make_elf(zeros=0):
    """A kernel as far as its container goes: one segment, one note with a PVH entry."""
    note = struct.pack("<III", 4, 8, vmlinux.PVH_NOTE) + b"Xen\0" + struct.pack("<Q", 0x1000000)
    text = b"\x90" * 64 + bytes(zeros)
    head = 64 + 2 * 56
    elf = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x1000000, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 4, 4, head, 0, 0, len(note), len(note), 4)
    elf += struct.pack("<IIQQQQQQ", 1, 5, head + len(note), 0, 0, len(text), len(text), 4096)
    return elf + note + text


def make_bzimage(payload):
    """The smallest file with the fields a bzImage is recognised by."""
    image = bytearray(1024)
    image[0x1f1] = 1
    image[0x1fe:0x200] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x20f)
    struct.pack_into("<II", image, 0x248, 0, len(payload))
    return bytes(image) + payload


def compile_c(directory, name, *flags):
    """A tiny object or program without a C library."""
    source = os.path.join(directory, "tiny.c")
    with open(source, "w", encoding="utf-8") as out:
        out.write("void _start(void) { for (;;) ; }\n")
    target = os.path.join(directory, name)
    subprocess.run(["gcc", "-O1", "-g", "-nostdlib", "-o", target, source, *flags], check=True)
    return target


class Temporary(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, data):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(data if isinstance(data, bytes) else data.encode())
        return path

    def read(self, name):
        with open(self.path(name), "rb") as source:
            return source.read()


class Cpio(unittest.TestCase):
    def archive(self, order):
        archive = cpio.Archive()
        steps = {
            "dir": lambda: archive.directory("tmp", 0o1777),
            "file": lambda: archive.file("a/b/c", b"12345", 0o755),
            "link": lambda: archive.link("sbin/modprobe", "/init"),
            "node": lambda: archive.device("dev/console", 5, 1),
        }
        for name in order:
            steps[name]()
        return archive.pack()

    def test_same_bytes_whatever_the_order(self):
        self.assertEqual(self.archive(["dir", "file", "link", "node"]),
                         self.archive(["node", "link", "file", "dir"]))

    def test_round_trip(self):
        members = dict(cpio.parse(self.archive(["dir", "file", "link", "node"])))
        self.assertEqual(sorted(members), ["a", "a/b", "a/b/c", "dev", "dev/console", "sbin",
                                           "sbin/modprobe", "tmp"])
        self.assertEqual(members["a/b/c"].data, b"12345")
        self.assertEqual(members["a/b/c"].mode, stat.S_IFREG | 0o755)
        self.assertEqual(members["sbin/modprobe"].data, b"/init")
        self.assertEqual(members["dev/console"].rdev, (5, 1))
        self.assertEqual(members["tmp"].mode, stat.S_IFDIR | 0o1777)

    def test_refusals(self):
        archive = cpio.Archive()
        archive.file("x", b"")
        for name in ("", "/", "../x", "a/../b", "a//b", "a\0b", "x", "x/below"):
            with self.subTest(name=name), self.assertRaises(common.Problem):
                archive.file(name, b"")

    def test_damaged_archives(self):
        good = self.archive(["file"])
        for data in (b"", good[:100], good[:200], b"070702" + good[6:],
                     good[:54] + b"FFFFFFFF" + good[62:], good[:14] + b"xyzxyzxy" + good[22:]):
            with self.subTest(size=len(data)), self.assertRaises(common.Problem):
                cpio.parse(data)


class Modules(Temporary):
    def setUp(self):
        super().setUp()
        self.write("t/modules.dep", "k/virtio.ko:\nk/virtio_pci.ko: k/virtio.ko\n"
                   "k/nfnetlink.ko:\nk/nf_tables.ko: k/libcrc32c.ko k/nfnetlink.ko\n"
                   "k/libcrc32c.ko:\nk/crc32c_generic.ko:\nk/crc32c-intel.ko:\n"
                   "k/nft_chain_nat.ko: k/nf_tables.ko k/libcrc32c.ko k/nfnetlink.ko\n"
                   "k/kvm.ko:\nk/kvm-amd.ko: k/kvm.ko\nk/kvm-intel.ko: k/kvm.ko\n"
                   "k/tun.ko:\nk/sound.ko:\n")
        self.write("t/modules.builtin", "k/ext4.ko\n")
        self.write("t/modules.softdep", "# c\nsoftdep libcrc32c pre: crc32c\n")
        self.write("t/modules.devname", "# c\ntun net/tun c10:200\nsound snd/seq c116:1\n")
        self.write("t/modules.alias", "# c\nalias nft-chain-1-nat nft_chain_nat\n"
                   "alias net-pf-16-proto-12 nfnetlink\nalias crc32c crc32c_generic\n"
                   "alias crc32c crc32c_intel\nalias char-major-10-200 tun\n"
                   "alias pci:v00001AF4d*sv*bc[0-9]* virtio_pci\nalias snd-x sound\n")
        self.tree = kmod.Tree(self.path("t"))

    def plan(self, text):
        return kmod.Plan(self.tree, kmod.read_list(self.write("list", text)), "list")

    def test_load_order(self):
        plan = self.plan("boot virtio-pci\ndemand nft_*\ndemand ext4\n")
        self.assertEqual(plan.boot, ["virtio", "virtio_pci"])
        self.assertEqual(plan.demand["nft_chain_nat"],
                         ["nfnetlink", "libcrc32c", "nf_tables", "nft_chain_nat"])
        self.assertIn("demand nf_tables nfnetlink.ko libcrc32c.ko nf_tables.ko\n",
                      plan.load_table())
        self.assertTrue(plan.load_table().startswith("boot virtio.ko\nboot virtio_pci.ko\n"))

    def test_soft_dependencies_come_along(self):
        self.assertEqual({"crc32c_generic", "crc32c_intel"} - set(
            self.plan("demand nf_tables\n").names()), set())

    def test_aliases(self):
        table = self.plan("boot virtio_pci\ndemand nft_*\ndemand tun\ndemand kvm-amd\n"
                          "demand kvm-intel\nalias char-major-10-232 kvm-amd\n"
                          "alias char-major-10-232 kvm-intel\n").alias_table()
        for request, names in (
                ("nft-chain-1-nat", ["nft_chain_nat"]),
                ("net-pf-16-proto-12", ["nfnetlink"]),
                ("char-major-10-232", ["kvm_amd", "kvm_intel"]),
                ("crc32c", ["crc32c_generic", "crc32c_intel"]),
                ("pci:v00001AF4d00001000sv0bc02", ["virtio_pci"]),
                ("nf-tables", ["nf_tables"]),
                ("snd-x", []), ("sound", []), ("*", [])):
            with self.subTest(request=request):
                self.assertEqual(kmod.lookup(table, request), names)
        self.assertEqual(table.splitlines(), sorted(table.splitlines()))

    def test_device_nodes_of_packed_modules_only(self):
        self.assertEqual(self.plan("demand tun\n").device_table(), "tun net/tun c10:200\n")
        self.assertEqual(self.plan("demand kvm-amd\n").device_table(), "kvm kvm c10:232\n")

    def test_refusals(self):
        for text in ("demand nosuch\n", "boot nosuch_*\n", "load tun\n", "demand a b\n",
                     "alias x\n"):
            with self.subTest(text=text), self.assertRaises(common.Problem):
                self.plan(text)
        self.assertEqual(self.plan("demand? nosuch\n").names(), [])

    def test_signature_is_cut_off(self):
        body = b"\x7fELF module"
        signed = body + b"S" * 20 + bytes(8) + struct.pack(">I", 20) + kmod.SIGNATURE
        self.assertEqual(kmod.unsigned(signed), body)
        self.assertEqual(kmod.unsigned(body), body)
        with self.assertRaises(common.Problem):
            kmod.unsigned(bytes(8) + struct.pack(">I", 999) + kmod.SIGNATURE)


class Vmlinux(unittest.TestCase):
    def test_formats(self):
        elf = make_elf()
        for payload in (elf, gzip.compress(elf), __import__("lzma").compress(elf),
                        __import__("bz2").compress(elf) + struct.pack("<I", len(elf))):
            self.assertEqual(vmlinux.extract(make_bzimage(payload), "image"), elf)
        self.assertEqual(vmlinux.extract(elf, "image"), elf)
        self.assertTrue(vmlinux.has_pvh(elf, "image"))

    def test_tools(self):
        for name, argv in (("zstd", ["zstd", "-q", "-c"]), ("lz4", ["lz4", "-l", "-q", "-c"])):
            if not common.find_program(name):
                continue
            packed = subprocess.run(argv, input=make_elf(), capture_output=True, check=True)
            image = make_bzimage(packed.stdout + struct.pack("<I", len(make_elf())))
            self.assertEqual(vmlinux.extract(image, name), make_elf())

    def refused(self, image, words):
        with self.assertRaises(common.Problem) as caught:
            vmlinux.extract(image, "vmlinuz-test")
        self.assertIn("vmlinuz-test", str(caught.exception))
        self.assertIn(words, str(caught.exception))

    def test_damage_is_named(self):
        good = make_bzimage(gzip.compress(make_elf()))
        self.refused(good[:-5], "truncated")
        self.refused(good[:300], "neither")
        self.refused(b"", "neither")
        self.refused(make_bzimage(gzip.compress(make_elf())[:-9]), "damaged")
        self.refused(make_bzimage(b"what is this"), "unknown compression")
        self.refused(make_bzimage(gzip.compress(b"no kernel" * 20)), "ELF")
        self.refused(make_bzimage(gzip.compress(make_elf()[:-30])), "truncated")
        self.refused(make_elf()[:18] + b"\xb7\0" + make_elf()[20:], "machine 183")

    def test_zeros_at_the_end_are_not_stored(self):
        small = vmlinux.trimmed(make_elf(zeros=1 << 20), "image")
        self.assertLess(len(small), 1000)
        self.assertEqual(vmlinux.segments(small, "image")[1][2], 64)
        memory = struct.unpack_from("<Q", small, 64 + 56 + 40)[0]
        self.assertEqual(memory, 64 + (1 << 20))
        vmlinux.check_elf(small, "image")


class Kconfig(Temporary):
    def test_missing_lines_are_named(self):
        wanted = self.write("want", "# c\nCONFIG_A=y\nCONFIG_GONE=y\nCONFIG_B=n\nCONFIG_N=3\n")
        got = self.write("got", "CONFIG_A=y\nCONFIG_N=4\n# CONFIG_B is not set\n")
        with self.assertRaises(common.Problem) as caught:
            kconfig.verify(wanted, got)
        text = str(caught.exception)
        self.assertIn("CONFIG_GONE=y (the result has nothing)", text)
        self.assertIn("CONFIG_N=3 (the result has 4)", text)
        self.assertNotIn("CONFIG_A", text)
        self.assertNotIn("CONFIG_B", text)

    def test_complete(self):
        kconfig.verify(self.write("want", "CONFIG_A=y\n"), self.write("got", "CONFIG_A=y\n"))

    def test_bad_lines(self):
        for text in ("CONFIG_A\n", "A=y\n", "CONFIG_A=y\nCONFIG_A=n\n", "CONFIG_A=maybe\n"):
            with self.subTest(text=text), self.assertRaises(common.Problem):
                kconfig.wanted_lines(self.write("want", text))

    def test_ours_can_be_read(self):
        lines = kconfig.wanted_lines(os.path.join(GUEST, "kernel.config"))
        for line in ("CONFIG_USER_NS=y", "CONFIG_PROC_CHILDREN=y", "CONFIG_KVM_AMD=y",
                     "CONFIG_KVM_INTEL=y", "CONFIG_PVH=y"):
            self.assertIn(line, lines)


class Busybox(unittest.TestCase):
    def test_image_is_well_formed(self):
        data = busybox.image(b"program", ["ls", "sh"])
        self.assertEqual(data, busybox.image(b"program", ["ls", "sh"]))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            manifest = json.load(tar.extractfile("manifest.json"))
            config_data = tar.extractfile(manifest[0]["Config"]).read()
            layer = tar.extractfile(manifest[0]["Layers"][0]).read()
        config = json.loads(config_data)
        self.assertEqual(manifest[0]["RepoTags"], ["busybox:latest"])
        self.assertEqual(manifest[0]["Config"],
                         hashlib.sha256(config_data).hexdigest() + ".json")
        self.assertEqual(config["rootfs"]["diff_ids"],
                         ["sha256:" + hashlib.sha256(layer).hexdigest()])
        self.assertEqual(config["config"]["Cmd"], ["sh"])
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            members = {member.name: member for member in tar}
            passwd = tar.extractfile("etc/passwd").read().decode()
        self.assertEqual(members["bin/sh"].linkname, "busybox")
        self.assertEqual(members["tmp"].mode, 0o1777)
        self.assertEqual({(member.uid, member.gid) for member in members.values()}, {(0, 0)})
        self.assertIn("nobody:x:65534:", passwd)


class Cache(Temporary):
    """fetch-kernel and prepare, with a stand-in for apt on PATH."""

    def setUp(self):
        super().setUp()
        self.env = dict(os.environ, KATA_CACHE=self.path("cache"), KATA_GUEST_KERNEL="distro",
                        PATH=self.path("bin") + ":" + os.environ["PATH"])
        os.makedirs(self.path("debs"))
        self.make_deb("1.0-1")
        self.serve("1.0-1")
        self.agent = compile_c(self.dir, "agent", "-static")

    def script(self, name, text):
        os.chmod(self.write("bin/" + name, "#!/bin/sh\n" + text), 0o755)

    def serve(self, version):
        """apt offers this version, as a dependency of the meta package."""
        self.script("apt-cache", f'''case "$*" in
*policy*) printf 'x:\\n  Candidate: {version}\\n' ;;
*show*) echo 'Depends: {PACKAGE} (= {version})' ;;
esac''')
        self.script("apt-get", f'''echo x >> {self.path("calls")}
case "$*" in *download*) cp {self.path("debs")}/{version}.deb . ;; esac''')

    def offline(self):
        for name in ("apt-get", "apt-cache"):
            self.script(name, "echo 'E: no network' >&2; exit 100")
        for name in os.listdir(self.path("cache/distro")):
            if name.endswith(".answer"):
                os.unlink(self.path("cache/distro", name))

    def make_deb(self, version, image=None):
        tree = self.path("deb-" + version)
        modules = os.path.join(tree, "lib/modules", RELEASE)
        for name in ("DEBIAN", "boot"):
            os.makedirs(os.path.join(tree, name))
        os.makedirs(os.path.join(modules, "kernel/drivers"))
        compile_c(os.path.join(modules, "kernel/drivers"), "virtio_pci.ko", "-c")
        files = {
            "DEBIAN/control": f"Package: {PACKAGE}\nVersion: {version}\nArchitecture: amd64\n"
                              "Maintainer: test <test@example.org>\nDescription: test\n",
            "boot/vmlinuz-" + RELEASE: make_bzimage(gzip.compress(make_elf()))
                                       if image is None else image,
            "boot/config-" + RELEASE: "CONFIG_9P_FS=m\n",
            f"lib/modules/{RELEASE}/modules.builtin": "",
            f"lib/modules/{RELEASE}/modules.order": "",
        }
        for name, data in files.items():
            with open(os.path.join(tree, name), "wb") as out:
                out.write(data if isinstance(data, bytes) else data.encode())
        subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", tree,
                        self.path("debs", version + ".deb")], check=True, capture_output=True)

    def call(self, *argv, status=0):
        done = subprocess.run([os.path.join(GUEST, argv[0]), *argv[1:]], env=self.env,
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def leftovers(self):
        return [name for name in os.listdir(self.path("cache/distro")) if
                name.startswith(".") or name.endswith(".deb")]

    def test_fetch_once_and_again_when_newer(self):
        first = self.call("fetch-kernel", "--out", self.path("out")).stdout.strip()
        self.assertEqual(os.path.basename(first), PACKAGE + "_1.0-1")
        self.assertTrue(vmlinux.has_pvh(self.read("out/vmlinux"), "out"))
        info = common.read_info(self.path("out/kernel.info"))
        self.assertEqual((info["flavour"], info["version"], info["has_9p"], info["has_vsock"]),
                         ("distro", RELEASE, "yes", "no"))
        calls = self.read("calls")
        self.call("fetch-kernel")
        self.assertEqual(self.read("calls"), calls)
        self.make_deb("1.0-2")
        self.serve("1.0-2")
        second = self.call("fetch-kernel", "--refresh").stdout.strip()
        self.assertEqual(os.path.basename(second), PACKAGE + "_1.0-2")
        self.assertEqual(self.leftovers(), [])

    def test_offline(self):
        self.call("fetch-kernel")
        self.offline()
        done = self.call("fetch-kernel")
        self.assertIn("using the kernel in the cache", done.stderr)
        shutil.rmtree(self.path("cache/distro"))
        os.makedirs(self.path("cache/distro"))
        self.assertIn("no network", self.call("fetch-kernel", status=1).stderr)

    def test_damaged_package_leaves_nothing(self):
        good = make_bzimage(gzip.compress(make_elf()))
        shutil.rmtree(self.path("deb-1.0-1"))
        self.make_deb("1.0-1", good[:-4])
        self.assertIn("truncated", self.call("fetch-kernel", status=1).stderr)
        self.assertEqual(self.leftovers(), [])
        self.assertEqual(distro.cached(self.path("cache/distro"), "linux-image-amd64"), [])

    def test_crash_remains_are_swept(self):
        os.makedirs(self.path("cache/distro", f".{PACKAGE}_0.9-1.partabc", "boot"))
        os.makedirs(self.path("cache/distro", ".download.abc"))
        self.write("cache/distro/old.deb", "half")
        self.call("fetch-kernel")
        self.assertEqual(self.leftovers(), [])

    def test_initrd_is_reproducible_and_complete(self):
        kernel = self.call("fetch-kernel").stdout.strip()
        modules = self.write("list", "boot virtio_pci\n")
        for name in ("one", "two"):
            self.call("mkinitrd", "--kernel-dir", kernel, "--agent", self.agent, "--out",
                      self.path(name), "--modules-list", modules, "--compress", "none",
                      "--extra-file", f"{modules}:etc/list:640")
        self.assertEqual(self.read("one"), self.read("two"))
        members = dict(cpio.parse(self.read("one")))
        self.assertEqual(members["init"].mode, stat.S_IFREG | 0o755)
        self.assertEqual(members["sbin/modprobe"].data, b"/init")
        self.assertEqual(members["lib/modules/load"].data, b"boot virtio_pci.ko\n")
        self.assertEqual(members["etc/list"].mode, stat.S_IFREG | 0o640)
        self.assertEqual(members["lib/modules/virtio_pci.ko"].data[:4], b"\x7fELF")

    def test_agents_that_cannot_run_are_refused(self):
        kernel = self.call("fetch-kernel").stdout.strip()
        dynamic = compile_c(self.dir, "dynamic", "-pie", "-Wl,--dynamic-linker=/lib/ld.so")
        for agent, words in ((dynamic, "not static"), (self.write("text", "x" * 100), "program"),
                             (self.path("absent"), "cannot read")):
            done = self.call("mkinitrd", "--kernel-dir", kernel, "--agent", agent, "--out",
                             self.path("initrd"), status=1)
            self.assertIn(words, done.stderr)
        self.assertFalse(os.path.exists(self.path("initrd")))

    @unittest.skipUnless(os.path.exists(busybox.INSTALLED), "busybox-static is not installed")
    def test_two_prepare_at_once(self):
        # The stand-in kernel has one module; the tree's own list asks for many more.
        tree = self.path("tree/guest")
        shutil.copytree(GUEST, tree, ignore=shutil.ignore_patterns("__pycache__"))
        self.write("tree/guest/modules.list", "boot virtio_pci\n")
        argv = [os.path.join(tree, "prepare"), "--agent", self.agent, "--out", self.path("out")]
        runs = [subprocess.Popen(argv, env=self.env, stderr=subprocess.PIPE, text=True)
                for _ in range(3)]
        results = [(run.communicate(timeout=60)[1], run.returncode) for run in runs]
        self.assertEqual([status for _, status in results], [0, 0, 0], results)
        self.assertEqual(sorted(name for name in os.listdir(self.path("out"))
                                if not name.startswith(".")),
                         ["busybox.tar", "initrd", "kernel.info", "vmlinux"])
        self.assertEqual(sum("packed" in text for text, _ in results), 1)
        self.assertEqual(self.read("calls").count(b"x"), 1)
        self.assertEqual(self.leftovers(), [])
        times = {name: os.stat(self.path("out", name)).st_mtime_ns
                 for name in os.listdir(self.path("out"))}
        subprocess.run(argv, env=self.env, check=True, capture_output=True, timeout=60)
        self.assertEqual(times, {name: os.stat(self.path("out", name)).st_mtime_ns
                                 for name in os.listdir(self.path("out"))})

    def test_choice_of_kernel(self):
        self.env["KATA_GUEST_KERNEL"] = "tuned"
        self.assertIn("make guest-kernel", self.call(
            "prepare", "--agent", self.agent, "--out", self.path("out"), status=1).stderr)
        self.env["KATA_GUEST_KERNEL"] = "other"
        self.assertIn("KATA_GUEST_KERNEL=other", self.call(
            "prepare", "--agent", self.agent, "--out", self.path("out"), status=1).stderr)
        self.call("build-kernel", "--print-path", status=1)


if __name__ == "__main__":
    unittest.main()
