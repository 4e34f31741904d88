# SPDX-License-Identifier: Apache-2.0
"""Commands whose words a failed assertion repeats.

`assertEqual(done.returncode, 137)` alone says "125 != 137". What the command wrote says why, and by it
the runner knows what the emulated machine did not survive ("agent does not answer").
"""

import os
import subprocess

WORDS_MAX = 4000  # characters, of the end

_words = ""  # of the last command, if it failed


def run(argv, **kw):
    """subprocess.run() with its output captured."""
    global _words  # pylint: disable=global-statement
    done = subprocess.run(argv, capture_output=True, check=False, **kw)
    text = done.stderr if isinstance(done.stderr, str) else done.stderr.decode(errors="replace")
    name = " ".join(map(os.fsdecode, argv))
    _words = f"\n{name}: exit status {done.returncode}\n{text[-WORDS_MAX:]}" if done.returncode else ""
    return done


class Failure(AssertionError):
    """A test case's failureException."""

    def __init__(self, text=""):
        super().__init__(f"{text}{_words}")
