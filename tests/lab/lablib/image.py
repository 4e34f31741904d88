# SPDX-License-Identifier: Apache-2.0
"""What the laboratory boots: the distribution's kernel, and an initrd made for one run.

Both come from guest/guestlib, which downloads the kernel's package and never installs it. The
initrd lives in memory alone, so that a run that is killed leaves no file behind.
"""

import os
import shlex
import sys

LAB = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TREE = os.path.dirname(os.path.dirname(LAB))
sys.path.insert(0, os.path.join(TREE, "guest"))
from guestlib import common, cpio, distro, kmod  # noqa: E402
from guestlib.common import Problem  # noqa: E402

BUSYBOX = "/bin/busybox"
APPLETS = ("cp", "insmod", "mkdir", "mount", "poweroff", "sed", "sh", "switch_root")
DIRECTORIES = ("bin", "dev", "lab", "lower", "modules", "proc", "sys", "trees", "upper")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def kernel():
    """Directory of the newest kernel of the distribution that can be had."""
    return distro.obtain(common.open_cache(None), distro.DEFAULT_PACKAGE)


def modules_dir(directory):
    return os.path.join(directory, "lib/modules")


def read(path):
    with open(path, "rb") as source:
        return source.read()


def add_modules(archive, directory):
    info = common.read_info(os.path.join(directory, "kernel.info"))
    tree = kmod.Tree(os.path.join(modules_dir(directory), info["version"]))
    path = os.path.join(LAB, "modules.list")
    names = kmod.Plan(tree, kmod.read_list(path), path).boot
    for name in names:
        archive.file(f"modules/{name}.ko", tree.read(name))
    archive.file("modules/order", "".join(f"{name}.ko\n" for name in names).encode())


def command_text(job):
    """The script that inside/start runs."""
    lines = [f"cd {shlex.quote(job.cwd)} || exit 125", ". /lab/environment"]
    if job.rows:
        lines.append(f"stty rows {job.rows} cols {job.columns}")
    return "\n".join([*lines, job.command or "exec bash -i", ""])


def environment_text(job):
    env = {"PATH": PATH, "HOME": "/root", "TERM": "linux", "LANG": "C.UTF-8", **job.env}
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())


def initrd(directory, job):
    """The archive's bytes. `job`: cwd, command, env, rows and columns."""
    if not os.path.exists(BUSYBOX):
        raise Problem(f"there is no {BUSYBOX}", "install it: apt-get install busybox-static")
    archive = cpio.Archive()
    for name in DIRECTORIES:
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.file("bin/busybox", read(BUSYBOX), 0o755)
    for name in APPLETS:
        archive.link(f"bin/{name}", "busybox")
    add_modules(archive, directory)
    archive.file("init", read(os.path.join(LAB, "inside/init")), 0o755)
    archive.file("lab/start", read(os.path.join(LAB, "inside/start")), 0o755)
    archive.file("lab/command", command_text(job).encode())
    archive.file("lab/environment", environment_text(job).encode())
    return archive.pack()
