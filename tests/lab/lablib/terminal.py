# SPDX-License-Identifier: Apache-2.0
"""The caller's terminal, raw while a shell of the laboratory has it."""

import contextlib
import os
import shutil
import sys
import termios
import tty


class Terminal:
    def __init__(self):
        self.fd = sys.stdin.fileno()
        self.columns, self.rows = shutil.get_terminal_size()

    def write(self, data):
        os.write(sys.stdout.fileno(), data)

    @contextlib.contextmanager
    def raw(self):
        saved = termios.tcgetattr(self.fd)
        try:
            tty.setraw(self.fd)
            yield
        finally:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, saved)
