# SPDX-License-Identifier: Apache-2.0
"""The laboratory's forms, and what `make lab-full` found in each."""

import json
import os

from . import process

# The laboratory's forms: title, options, release of Debian whose root file system it has (None: this
# host's), and of which tests ("": all that are marked; QUICK: those of every check; else those whose names
# hold this). Without options: no laboratory, but every VM test under software emulation.
QUICK = "quick"
FORMS = (
    ("this host, cgroup v2", ["--cgroup", "v2"], None, ""),
    ("this host, cgroup v1 and v2 (hybrid)", ["--cgroup", "hybrid"], None, QUICK),
    ("Debian 13, emulation", None, "trixie", ""),
    ("Debian 13, systemd, cgroup v2", ["--systemd"], "trixie", ""),
    ("Debian 12, systemd, cgroup v1 and v2 (hybrid)", ["--systemd", "--cgroup", "hybrid"], "bookworm",
     "test_systemd"),
    ("Debian unstable, emulation", None, "sid", ""),
    ("Debian unstable, cgroup v2", ["--cgroup", "v2"], "sid", "test_containerd2"),
)

KEPT = os.path.join(process.ROOT, "build", "lab-full.json")


def kept():
    """The last result of each form that ran with this tree, by title."""
    try:
        with open(KEPT, encoding="utf-8") as source:
            return {row["title"]: row for row in json.load(source)}
    except FileNotFoundError:
        return {}


def keep(row):
    rows = {**kept(), row["title"]: row}
    with open(KEPT + ".new", "w", encoding="utf-8") as out:
        json.dump([rows[form[0]] for form in FORMS if form[0] in rows], out)
    os.replace(KEPT + ".new", KEPT)
