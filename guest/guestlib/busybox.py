# SPDX-License-Identifier: Apache-2.0
"""A busybox container image made of Debian's busybox-static package, without a registry.

The result is what `docker save` writes: manifest.json, the image's configuration, one layer.
Owners and modes are set in the archive's headers, so no privilege is needed; the same program
gives the same bytes.
"""

import hashlib
import io
import json
import os
import tarfile

from guestlib import apt, common
from guestlib.common import Problem

PACKAGE = "busybox-static"
NAME = "busybox:latest"
INSTALLED = "/bin/busybox"
LOCK_DEADLINE_S = 600
DIRECTORIES = (
    ("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("proc", 0o755),
    ("root", 0o700), ("run", 0o755), ("sbin", 0o755), ("sys", 0o755), ("tmp", 0o1777),
    ("usr", 0o755), ("usr/bin", 0o755), ("usr/sbin", 0o755), ("var", 0o755),
    ("var/tmp", 0o1777),
)
FILES = (
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
                   "nobody:x:65534:65534:nobody:/home:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\nnobody:x:65534:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def is_static(path):
    """Whether a file is an ELF program that asks for no loader."""
    with open(path, "rb") as source:
        head = source.read(4096)
    return head[:4] == b"\x7fELF" and b"/ld-linux" not in head


def find(cache):
    """The path of a static busybox: the installed one, else one unpacked into the cache."""
    if os.path.exists(INSTALLED) and is_static(INSTALLED):
        return INSTALLED
    base = os.path.join(cache, "busybox")
    os.makedirs(base, exist_ok=True)
    with common.lock(base, "fetch", LOCK_DEADLINE_S, "unpacking busybox"):
        common.sweep(base)
        return fetch(cache, base)


def fetch(cache, base):
    """Downloads and unpacks the package for the holder of the lock."""
    view = apt.Apt(cache)
    version = view.candidate(PACKAGE)
    if not version:
        old = apt.newest(name for name in os.listdir(base)
                         if os.path.isfile(os.path.join(base, name, "busybox")))
        if old:
            return os.path.join(base, old, "busybox")
        view.refresh()
        version = view.candidate(PACKAGE)
    if not version:
        raise Problem(f"the distribution offers no package {PACKAGE}", view.trouble)
    final = os.path.join(base, version)
    if not os.path.isdir(final):
        deb = view.download(PACKAGE, version, base)
        try:
            with common.new_directory(final) as out:
                apt.unpack(deb, out, lambda name: name in ("bin/busybox", "usr/bin/busybox"))
                for place in ("bin/busybox", "usr/bin/busybox"):
                    if os.path.isfile(os.path.join(out, place)):
                        os.rename(os.path.join(out, place), os.path.join(out, "busybox"))
                if not os.path.isfile(os.path.join(out, "busybox")):
                    raise Problem(f"{PACKAGE} {version} holds no busybox")
        finally:
            os.unlink(deb)
    return os.path.join(final, "busybox")


def applets(busybox):
    """The names busybox answers to."""
    names = common.run([busybox, "--list"], 30, f"the applets of {busybox}").decode().split()
    if "sh" not in names:
        raise Problem(f"{busybox} has no shell", f"reinstall {PACKAGE}")
    return sorted(set(names) - {"busybox"})


def member(tar, name, mode, kind=tarfile.REGTYPE, data=b"", target=""):
    """Adds one entry with fixed owner and time."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname = kind, mode, len(data), target
    info.uid = info.gid = info.mtime = 0
    tar.addfile(info, io.BytesIO(data) if data else None)


def layer(program, names):
    """The root file system as a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in DIRECTORIES:
            member(tar, name, mode, tarfile.DIRTYPE)
        member(tar, "bin/busybox", 0o755, data=program)
        for name in names:
            member(tar, "bin/" + name, 0o777, tarfile.SYMTYPE, target="busybox")
        for name, text in FILES:
            member(tar, name, 0o644, data=text.encode())
    return out.getvalue()


def compact(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def image(program, names):
    """The whole image as bytes."""
    layer_data = layer(program, names)
    layer_digest = hashlib.sha256(layer_data).hexdigest()
    config = compact({
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=" + PATH]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + layer_digest]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": PACKAGE}],
    })
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    layer_name = layer_digest + "/layer.tar"
    manifest = compact([{"Config": config_name, "RepoTags": [NAME], "Layers": [layer_name]}])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member(tar, layer_digest, 0o755, tarfile.DIRTYPE)
        member(tar, layer_name, 0o644, data=layer_data)
        member(tar, config_name, 0o644, data=config)
        member(tar, "manifest.json", 0o644, data=manifest)
    return out.getvalue()


def write(cache, out):
    """Makes the image file; leaves one that is the same alone."""
    busybox = find(cache)
    names = applets(busybox)
    with open(busybox, "rb") as source:
        data = image(source.read(), names)
    return common.write_if_changed(out, data), len(data), len(names)
