#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Calls that src/ does not make, the length of files, and their heads."""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAX_LINES = 1000
SPDX = "SPDX-License-Identifier: Apache-2.0"

# Call -> why not, and what instead.
BANNED = {
    "strcpy": "no bound: buf_printf, mem_dup",
    "strcat": "no bound: buf_printf",
    "sprintf": "no bound: snprintf, buf_printf",
    "vsprintf": "no bound: vsnprintf",
    "strtok": "hidden state, changes its input: strchr, strcspn",
    "atoi": "no errors: str_to_i64",
    "atol": "no errors: str_to_i64",
    "gets": "no bound",
    "system": "a shell: spawn()",
    "popen": "a shell: spawn()",
    "alloca": "no bound on the stack",
    "getpwnam": "loads modules of the C library, and looks at the host's users",
    "getgrnam": "loads modules of the C library, and looks at the host's groups",
    "tmpnam": "a race",
    "mktemp": "a race: file_replace",
    "usleep": "no sleeps: fiber_sleep",
    "sleep": "no sleeps: fiber_sleep",
    "vfork": "shares the stack: spawn()",
}
# Calls that one place is for: call -> files that may.
ONLY_IN = {
    "syscall": {
        "src/base/sys.c": "the wrappers themselves",
        "src/standin/main.c": "has no C library calls left to use, and links with nothing of ours",
    },
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join([*BANNED, *ONLY_IN]) + r")\s*\(")
LITERALS = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', re.S)


def blank(match):
    """Comments and literals become spaces, line breaks stay."""
    return re.sub(r"[^\n]", " ", match.group(0))


def check(path, shown, problems):
    with open(path, encoding="utf-8") as source:
        text = source.read()
    lines = text.splitlines()
    if SPDX not in "\n".join(lines[:2]):
        problems.append(f"{shown}:1: no line {SPDX}")
    if len(lines) > MAX_LINES:
        problems.append(f"{shown}: {len(lines)} lines, more than {MAX_LINES}: divide it")
    if shown.startswith("src/") and shown.endswith(".h") and "#pragma once" not in text:
        problems.append(f"{shown}: no #pragma once")
    for number, line in enumerate(LITERALS.sub(blank, text).splitlines(), 1):
        for match in CALL.finditer(line):
            name = match.group(1)
            if name in ONLY_IN:
                if shown.startswith("src/") and shown not in ONLY_IN[name]:
                    problems.append(f"{shown}:{number}: {name}() belongs into "
                                    f"{', '.join(ONLY_IN[name])}")
            elif shown.startswith("src/"):
                problems.append(f"{shown}:{number}: {name}(): {BANNED[name]}")


def main():
    problems = []
    for top in ("src", "tests"):
        for path, folders, files in os.walk(os.path.join(ROOT, top)):
            folders.sort()
            for name in sorted(files):
                if name.endswith((".c", ".h")):
                    full = os.path.join(path, name)
                    check(full, os.path.relpath(full, ROOT), problems)
    for line in problems:
        print(line)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
