#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Checks that includes of src/ go downwards only. The table below is the architecture."""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOST = ("base", "event", "wire", "oci", "config", "vmm", "net", "share", "sandbox")

# Layer -> the layers it may include, besides itself.
MAY_USE = {
    "base": (),
    "event": ("base",),
    "wire": ("base", "event"),
    "oci": ("base", "event", "wire"),
    "config": ("base", "event", "wire", "oci"),
    "image": ("base", "event", "wire", "oci", "config"),
    "vmm": ("base", "event", "wire", "oci", "config"),
    "net": ("base", "event", "wire", "oci", "config", "vmm"),
    "share": ("base", "event", "wire", "oci", "config", "vmm"),
    "sandbox": tuple(name for name in HOST if name != "sandbox"),
    "shim": HOST,
    "cli": (*HOST, "image"),
    "runtime": (*HOST, "cli"),
    "agent": ("base", "event", "wire", "oci"),
    "standin": (),
}
# Headers that meson generates at the top of the build directory.
GENERATED = ("version.h", "build_config.h")
# Parts of wire and proto that are not for everybody: header -> layers that may not use it.
HOST_ONLY = {"wire/json.h": ("agent",), "wire/qmp.h": ("agent",), "wire/toml.h": ("agent",)}

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def sources():
    for path, folders, files in os.walk(os.path.join(ROOT, "src")):
        folders.sort()
        for name in sorted(files):
            if name.endswith((".c", ".h", ".S", ".inc")):
                yield os.path.join(path, name)


def problem_of(layer, included):
    """What is wrong with one include, or None."""
    if included in GENERATED or included.endswith(".pb-c.h"):
        # Generated messages belong to the contracts; standin and base know none.
        if included.endswith(".pb-c.h") and layer in ("base", "event", "standin"):
            return "messages are known from wire upwards"
        return None
    target, slash, _ = included.partition("/")
    if not slash:
        return "headers are named from src/, with their layer"
    if target not in MAY_USE:
        return f"there is no layer {target}"
    if layer in HOST_ONLY.get(included, ()):
        return f"{included} is for the host's programs"
    if target != layer and target not in MAY_USE[layer]:
        return f"{layer} may use {', '.join(MAY_USE[layer]) or 'nothing'}"
    return None


def main():
    bad = 0
    for path in sources():
        shown = os.path.relpath(path, ROOT)
        layer = shown.split(os.sep)[1]
        if layer not in MAY_USE:
            print(f"{shown}: {layer} is not in the table of tools/check_layers.py")
            bad += 1
            continue
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                match = INCLUDE.match(line)
                why = problem_of(layer, match.group(1)) if match else None
                if why:
                    print(f"{shown}:{number}: includes {match.group(1)}: {why}")
                    bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
