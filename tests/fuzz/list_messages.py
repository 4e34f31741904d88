#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the address of every message descriptor that the given generated headers declare."""

import re
import sys

DECLARED = re.compile(r"^extern const ProtobufCMessageDescriptor (\w+);", re.MULTILINE)

for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as header:
        for name in DECLARED.findall(header.read()):
            print(f"&{name},")
