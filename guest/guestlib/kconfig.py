# SPDX-License-Identifier: Apache-2.0
"""Reads kernel configurations and checks that one has what another asks for.

kconfig drops silently what it does not know or whose dependencies are unmet; this does not.
"""

import re

from guestlib.common import Problem

LINE = re.compile(r"(CONFIG_[A-Za-z0-9_]+)=(y|m|n|-?[0-9]+|0x[0-9a-fA-F]+|\"[^\"]*\")")
SHOWN = 20


def wanted_lines(path):
    """The option lines of a wish list: no comments, each option once."""
    seen = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            match = LINE.fullmatch(line)
            if not match:
                raise Problem(f"{path}, line {number}: not CONFIG_NAME=value: {line[:60]!r}")
            if match.group(1) in seen:
                raise Problem(f"{path}, line {number}: {match.group(1)} stands there twice")
            seen[match.group(1)] = line
    return list(seen.values())


def read_config(path):
    """Option -> value of a .config; options not set are absent."""
    result = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            name, sep, value = line.rstrip("\n").partition("=")
            if sep and name.startswith("CONFIG_"):
                result[name] = value
    return result


def verify(wanted_path, config_path):
    """Refuses a .config that lacks a wanted line, naming each."""
    got = read_config(config_path)
    wrong = []
    for line in wanted_lines(wanted_path):
        name, value = line.split("=", 1)
        if got.get(name, "n") != value:
            wrong.append(f"{line} (the result has {got.get(name, 'nothing')})")
    if wrong:
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        raise Problem(f"{len(wrong)} lines of {wanted_path} did not reach the configuration:\n  "
                      + "\n  ".join(wrong[:SHOWN] + more),
                      "either this kernel has no such option or what it depends on is missing")
