"""Terminals whose output is kept: of any size, and real ones."""

import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from rich.console import Console

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"  # the cursor


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_terminal(
    width: int = 100,
    height: int = 30,
    clock: Clock | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Console:
    """A terminal of that size whose output is kept."""
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=height,
        highlight=False,
        get_time=clock or Clock(),
        _environ={"TERM": "xterm-256color", **environment},
    )


def read_output(console: Console) -> str:
    """All that a console of a kept file was sent."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def replay(output: str) -> list[str]:
    """What a terminal that is wide enough shows in the end. Knows the codes that the view uses."""
    lines, row, column = [""], 0, 0
    for code, character in re.findall(r"\x1b\[([?\d;]*[A-Za-z])|([^\x1b])", output):
        if code == "1A":
            row -= 1
        elif code == "2K":
            lines[row] = ""
        elif character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
            column = 0
        elif character:
            lines[row] = lines[row][:column].ljust(column) + character
            column += 1
        else:
            assert code.endswith("m") or code in ("?25l", "?25h"), code
    return [line.rstrip() for line in lines]


class PseudoTerminal:
    """A real terminal of 24 lines, with the end for programs open, and what they sent so far."""

    def __init__(self, width: int) -> None:
        self.master, self.slave = pty.openpty()
        size = struct.pack("HHHH", 24, width, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)
        self.parts: list[bytes] = []
        self.reader = threading.Thread(target=self.keep_reading, daemon=True)
        self.reader.start()

    @property
    def output(self) -> str:
        """What was sent so far, with the line ends of a program."""
        return b"".join(self.parts).decode(errors="ignore").replace("\r\n", "\n")

    def keep_reading(self) -> None:
        """Read until no program has the terminal open."""
        with suppress(OSError):
            while True:
                self.parts.append(os.read(self.master, 4096))

    def wait_for(self, text: str) -> None:
        """Until that was sent; fails after a minute."""
        deadline = time.monotonic() + 60
        while text not in self.output:
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def read_all(self) -> str:
        """All that was sent, once every program has closed it."""
        self.reader.join(60)
        os.close(self.master)
        return self.output
