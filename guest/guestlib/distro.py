# SPDX-License-Identifier: Apache-2.0
"""The distribution's kernel, unpacked into the cache: one directory per package version.

    distro/<package>_<version>/
        vmlinux        the uncompressed ELF image
        config         the configuration it was built with
        kernel.info    key=value, see guest/README.md
        lib/modules/<release>/   modules with depmod's tables

The directory appears under that name only when it is complete.
"""

import os
import re
import shutil
import time

from guestlib import apt, common, vmlinux
from guestlib.common import Problem, say

DEFAULT_PACKAGE = "linux-image-amd64"
LOCK_DEADLINE_S = 1200
KEPT_VERSIONS = 2
ANSWER_AGE_S = 86400

# Modules no virtual machine of ours has hardware for: three quarters of the package.
UNWANTED = re.compile(
    r"lib/modules/[^/]+/kernel/(sound|drivers/(gpu|media|sound|staging|infiniband|iio|isdn|"
    r"usb|hid|leds|mmc|mtd|pcmcia|power|parport|thunderbolt|net/(ethernet|wireless|usb|can|"
    r"fddi|arcnet|hamradio|ieee802154|wwan)))/")


def resolve(view, package):
    """The real (package, version) behind a meta package, or None where it is unknown."""
    version = view.candidate(package)
    if not version:
        return None
    image = r"\blinux-image-[0-9][A-Za-z0-9.+~-]*"
    found = re.search(image + r"(?= \(= ([^)]+)\))", view.depends(package, version))
    if found:
        return found.group(0), found.group(1)
    found = re.search(image, view.depends(package, version))
    if found:
        real = view.candidate(found.group(0))
        return (found.group(0), real) if real else None
    return (package, version) if re.match(r"linux-image-[0-9]", package) else None


def cached(base, flavour):
    """Directories of complete unpacked kernels of one flavour, newest version first."""
    found = []
    if os.path.isdir(base):
        for name in os.listdir(base):
            path = os.path.join(base, name)
            if name.startswith(".") or not os.path.isfile(os.path.join(path, "kernel.info")):
                continue
            info = common.read_info(os.path.join(path, "kernel.info"))
            if info.get("asked_for") == flavour:
                found.append((info["package_version"], path))
    ordered = []
    while found:
        best = apt.newest(version for version, _ in found)
        ordered += [path for version, path in found if version == best]
        found = [(version, path) for version, path in found if version != best]
    return ordered


def unpack_kernel(deb, asked_for, package, version, out):
    """Fills a directory with what is kept of a kernel package."""
    tree = os.path.join(out, "package")
    def wanted(name):
        return name.startswith(("boot/vmlinuz-", "boot/config-")) or (
            re.match(r"(usr/)?lib/modules/", name) and not UNWANTED.match(
                name.removeprefix("usr/")))
    apt.unpack(deb, tree, wanted)
    boot = os.path.join(tree, "boot")
    images = [name for name in os.listdir(boot) if name.startswith("vmlinuz-")] if \
        os.path.isdir(boot) else []
    if len(images) != 1:
        raise Problem(f"{package} {version} holds {len(images)} kernel images, not one")
    release = images[0].removeprefix("vmlinuz-")
    with open(os.path.join(boot, images[0]), "rb") as source:
        elf = vmlinux.extract(source.read(), images[0])
    if not vmlinux.has_pvh(elf, images[0]):
        raise Problem(f"{package} {version} has no PVH entry point: no VMM can boot it as ELF")
    with open(os.path.join(out, "vmlinux"), "wb") as target:
        target.write(vmlinux.trimmed(elf, images[0]))
    os.rename(os.path.join(boot, "config-" + release), os.path.join(out, "config"))
    for place in ("lib", "usr/lib"):
        if os.path.isdir(os.path.join(tree, place, "modules", release)):
            os.rename(os.path.join(tree, place), os.path.join(out, "lib"))
            break
    else:
        raise Problem(f"{package} {version} has no modules for {release}")
    shutil.rmtree(tree)
    run_depmod(out, release)
    info = {"flavour": "distro", "version": release, "package": package,
            "package_version": version, "asked_for": asked_for, "modules": "yes"}
    with open(os.path.join(out, "kernel.info"), "w", encoding="utf-8") as target:
        target.write(common.info_text(info))


def run_depmod(out, release):
    """Makes modules.dep and modules.alias. Modules left out above are no error."""
    depmod = common.find_program("depmod")
    if not depmod:
        raise Problem("depmod is needed to order kernel modules", common.need("depmod"))
    common.run([depmod, "-b", out, release], 300, f"the module tables of {release}")


def ask(cache, package):
    """(view of apt, real package, version); falls back on fresh lists. Problem if offline."""
    view = apt.Apt(cache)
    found = resolve(view, package)
    if not found:
        view.refresh()
        found = resolve(view, package)
    if not found:
        raise Problem(f"the distribution offers no package {package}",
                      view.trouble or "another can be named with --package")
    return (view, *found)


def download(view, package, version, asked_for, directory):
    """Fetches a package; lists that are too old name versions the archive no longer has."""
    try:
        return view, package, version, view.download(package, version, directory)
    except Problem:
        if view.private:
            raise
    view.refresh()
    found = resolve(view, asked_for)
    if not found:
        raise Problem(f"the distribution offers no package {asked_for}", view.trouble)
    return (view, *found, view.download(*found, directory))


def obtain(cache, asked_for, refresh=False):
    """The directory of the newest kernel, unpacked now if it is not there yet."""
    base = os.path.join(cache, "distro")
    os.makedirs(base, exist_ok=True)
    with common.lock(base, "fetch", LOCK_DEADLINE_S, "unpacking a kernel"):
        lists = apt.lists_state()
        known = None if refresh else remembered(base, asked_for, lists)
        if known:
            return known
        common.sweep(base)
        present = cached(base, asked_for)
        try:
            found = obtain_locked(cache, base, asked_for, refresh)
            remember(base, asked_for, lists, found)
            return found
        except Problem as problem:
            if not present:
                raise
            say(f"using the kernel in the cache, {os.path.basename(present[0])}: "
                f"no newer one could be fetched ({str(problem.what).splitlines()[0]})")
            return present[0]


def remembered(base, asked_for, lists):
    """The answer of an earlier run of today, if the machine's package lists are the same."""
    answer_path = os.path.join(base, asked_for + ".answer")
    try:
        if time.time() - os.stat(answer_path).st_mtime > ANSWER_AGE_S:
            return None
        answer = common.read_info(answer_path)
    except (FileNotFoundError, Problem):
        return None
    path = os.path.join(base, os.path.basename(answer.get("kernel", "")))
    usable = os.path.isfile(os.path.join(path, "kernel.info"))
    return path if usable and answer.get("lists") == lists else None


def remember(base, asked_for, lists, found):
    """Saves the next run from asking apt, which takes a second."""
    text = common.info_text({"lists": lists, "kernel": os.path.basename(found)})
    with common.new_file(os.path.join(base, asked_for + ".answer")) as out:
        out.write(text.encode())


def obtain_locked(cache, base, asked_for, refresh):
    """obtain() for the holder of the lock."""
    view, package, version = ask(cache, asked_for)
    if refresh and not view.private:
        view.refresh()
        package, version = resolve(view, asked_for) or (package, version)
    final = os.path.join(base, f"{package}_{version}")
    if os.path.isdir(final):
        return final
    view, package, version, deb = download(view, package, version, asked_for, base)
    try:
        final = os.path.join(base, f"{package}_{version}")
        if not os.path.isdir(final):
            with common.new_directory(final) as out:
                unpack_kernel(deb, asked_for, package, version, out)
    finally:
        os.unlink(deb)
    for old in cached(base, asked_for)[KEPT_VERSIONS:]:
        say(f"removing {os.path.basename(old)} from the cache")
        shutil.rmtree(old)
    return final
