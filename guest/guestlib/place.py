# SPDX-License-Identifier: Apache-2.0
"""Puts a kernel of the cache into the build directory."""

import filecmp
import os
import shutil

from guestlib import common, kconfig

# Key of kernel.info -> option of the kernel's configuration.
FEATURES = (
    ("has_9p", "CONFIG_9P_FS"),
    ("has_virtiofs", "CONFIG_VIRTIO_FS"),
    ("has_vsock", "CONFIG_VIRTIO_VSOCKETS"),
    ("has_overlay", "CONFIG_OVERLAY_FS"),
    ("has_kvm_amd", "CONFIG_KVM_AMD"),
    ("has_kvm_intel", "CONFIG_KVM_INTEL"),
)


def described(source):
    """What is known of a kernel of the cache, with its features as "yes" or "no"."""
    info = common.read_info(os.path.join(source, "kernel.info"))
    config = kconfig.read_config(os.path.join(source, "config"))
    for key, option in FEATURES:
        info[key] = "yes" if config.get(option) in ("y", "m") else "no"
    return info


def kernel(source, out):
    """Copies vmlinux and kernel.info; files that are the same already keep their time."""
    os.makedirs(out, exist_ok=True)
    image = os.path.join(source, "vmlinux")
    target = os.path.join(out, "vmlinux")
    if not (os.path.isfile(target) and filecmp.cmp(image, target, shallow=False)):
        with open(image, "rb") as data, common.new_file(target) as copy:
            shutil.copyfileobj(data, copy, 1 << 20)
    text = common.info_text(described(source))
    common.write_if_changed(os.path.join(out, "kernel.info"), text.encode())
