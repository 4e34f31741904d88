# SPDX-License-Identifier: Apache-2.0
"""Image archives made by hand for test_image.py: docker-archive, OCI archive, layers."""

import gzip
import hashlib
import io
import json
import platform
import tarfile

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OTHER_ARCH = "arm64" if ARCH == "amd64" else "amd64"


def sha(data):
    return hashlib.sha256(data).hexdigest()


def item(name, data=b"", kind=tarfile.REGTYPE, mode=0o644, link="", mtime=1000000000, uid=0, gid=0,
         dev=(0, 0), pax=None):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.mtime = kind, mode, link, mtime
    info.uid, info.gid, info.devmajor, info.devminor = uid, gid, dev[0], dev[1]
    info.pax_headers = pax or {}
    info.size = len(data)
    return info, data


def folder(name, mode=0o755, **more):
    return item(name, kind=tarfile.DIRTYPE, mode=mode, **more)


def symlink(name, to, **more):
    return item(name, kind=tarfile.SYMTYPE, mode=0o777, link=to, **more)


def hardlink(name, to):
    return item(name, kind=tarfile.LNKTYPE, link=to)


def tar(*items, fmt=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as archive:
        for info, data in items:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def config_of(layers, arch=ARCH, run=None, diff_ids=None):
    return json.dumps({
        "architecture": arch, "os": "linux", "config": run or {},
        "rootfs": {"type": "layers",
                   "diff_ids": diff_ids or ["sha256:" + sha(layer) for layer in layers]},
    }).encode()


def docker_files(layers, tags=("test:1",), pack=lambda data: data, config=None):
    """The members of a docker-archive, to be changed before they are packed."""
    config = config or config_of(layers)
    files = {sha(config) + ".json": config}
    names = []
    for number, layer in enumerate(layers):
        names.append(f"{number}/layer.tar")
        files[names[-1]] = pack(layer)
    files["manifest.json"] = json.dumps([{
        "Config": sha(config) + ".json", "RepoTags": list(tags) or None, "Layers": names,
    }]).encode()
    return files


def pack_files(files):
    return tar(*[item(name, data) for name, data in files.items()])


def docker(layers, **more):
    return pack_files(docker_files(layers, **more))


def blob(files, data):
    files["blobs/sha256/" + sha(data)] = data
    return {"digest": "sha256:" + sha(data), "size": len(data)}


def oci_manifest(files, layers, pack=gzip.compress, config=None, suffix="+gzip"):
    config = config or config_of(layers)
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": dict(blob(files, config), mediaType="application/vnd.oci.image.config.v1+json"),
        "layers": [dict(blob(files, pack(layer)),
                        mediaType="application/vnd.oci.image.layer.v1.tar" + suffix)
                   for layer in layers],
    }
    return dict(blob(files, json.dumps(manifest).encode()), mediaType=manifest["mediaType"])


def oci_files(layers, name="docker.io/library/oci:1", **more):
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    descriptor = oci_manifest(files, layers, **more)
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": name}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode()
    return files
