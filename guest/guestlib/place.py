# SPDX-License-Identifier: Apache-2.0
"""Puts a kernel of the cache into the build directory."""

import filecmp
import os
import shutil

from guestlib import common


def kernel(source, out):
    """Copies vmlinux and kernel.info; files that are the same already keep their time."""
    os.makedirs(out, exist_ok=True)
    image = os.path.join(source, "vmlinux")
    target = os.path.join(out, "vmlinux")
    if not (os.path.isfile(target) and filecmp.cmp(image, target, shallow=False)):
        with open(image, "rb") as data, common.new_file(target) as copy:
            shutil.copyfileobj(data, copy, 1 << 20)
    with open(os.path.join(source, "kernel.info"), "rb") as info:
        common.write_if_changed(os.path.join(out, "kernel.info"), info.read())
