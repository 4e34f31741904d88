# SPDX-License-Identifier: Apache-2.0
"""The laboratory's forms, and what `make lab-full` found in each.

A round of a form takes hours and may be done in parts: what is kept is the last result of each of its
parts, a file of tests or a row of tests/vm/meson.build that ran to its end.
"""

import json
import os

from . import labtests, process

# The laboratory's forms: title, options, release of Debian whose root file system it has (None: this
# host's), and of which tests ("": all that are marked; QUICK: those of every check; else of files whose
# names hold this). Without options: no laboratory, but every VM test under software emulation.
QUICK = "quick"
FORMS = (
    ("this host, cgroup v2", ["--cgroup", "v2"], None, ""),
    ("this host, cgroup v1 and v2 (hybrid)", ["--cgroup", "hybrid"], None, QUICK),
    ("Debian 13, emulation", None, "trixie", ""),
    ("Debian 13, systemd, cgroup v2", ["--systemd"], "trixie", ""),
    ("Debian 12, systemd, cgroup v1 and v2 (hybrid)", ["--systemd", "--cgroup", "hybrid"], "bookworm",
     "test_systemd"),
    ("Debian unstable, emulation", None, "sid", ""),
    ("Debian unstable, cgroup v2", ["--cgroup", "v2"], "sid", ""),
)
REST = "rest"

KEPT = os.path.join(process.ROOT, "build", "lab-full.json")
# The same of earlier trees, which tests/lab/compatibility keeps.
DOCUMENTED = os.path.join(process.ROOT, "docs", "compatibility.json")


def planned(form, directory):
    """The parts of a form: paths below the tree's root, and names of rows."""
    _, options, _, only = form
    if options is None:
        return labtests.every_part(directory)
    parts = labtests.marked_parts(directory, only != QUICK)
    return parts if only == QUICK else [part for part in parts if only in part]


def chosen(form, directory, words):
    """Those that a caller's words name: parts of names, REST for what has no result yet, none for all."""
    parts = planned(form, directory)
    if words == [REST]:
        has = kept().get(form[0], {"parts": {}})["parts"]
        return [part for part in parts if part not in has]
    return [part for part in parts if not words or any(word in part for word in words)]


def load(path):
    try:
        with open(path, encoding="utf-8") as source:
            return {row["title"]: row for row in json.load(source) if "parts" in row}
    except FileNotFoundError:
        return {}


def merged(old, new):
    return {"title": new["title"], "parts": {**old["parts"], **new["parts"]},
            **{kind: sorted({*old[kind], *new[kind]}) for kind in ("monitors", "managers")}}


def kept():
    """The last result of each part of each form, by title."""
    rows = load(DOCUMENTED)
    for title, row in load(KEPT).items():
        rows[title] = merged(rows[title], row) if title in rows else row
    return rows


def save(path, rows):
    """One line for each part, so that a change is one of a line."""
    out = []
    for row in rows:
        parts = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row['parts'][name], sort_keys=True)}"
                           for name in sorted(row["parts"]))
        head = ", ".join(f"{json.dumps(key)}: {json.dumps(row[key])}" for key in ("title", "monitors", "managers"))
        out.append(f"{{{head}, \"parts\": {{\n{parts}\n}}}}")
    with open(path + ".new", "w", encoding="utf-8") as target:
        target.write("[" + ",\n".join(out) + "]\n")
    os.replace(path + ".new", path)


def keep(row):
    rows = load(KEPT)
    title = row["title"]
    rows[title] = merged(rows[title], row) if title in rows else row
    save(KEPT, [rows[form[0]] for form in FORMS if form[0] in rows])
