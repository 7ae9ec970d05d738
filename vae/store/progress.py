"""Lines about what takes long to be sent or fetched."""

import logging
import time

TRANSFERS = "vae.transfers"  # the logger of these lines, which a live view shows as well
LINE_S = 10.0
MB = 1e6

log = logging.getLogger(TRANSFERS)


class Progress:
    """How far one transfer is: a line every `every_s`, none of what is over before."""

    def __init__(self, what: str, key: str, size_bytes: int, every_s: float = LINE_S) -> None:
        self.what, self.name, self.size_bytes = what, key.rpartition("/")[2], size_bytes
        self.every_s = every_s
        self.done_bytes = 0
        self.line_at = time.monotonic()  # when the last line was, or the transfer began
        self.told = False

    def advance(self, size_bytes: int) -> None:
        """So many bytes more have arrived."""
        self.done_bytes += size_bytes
        over = self.told and self.done_bytes >= self.size_bytes
        if over or time.monotonic() - self.line_at >= self.every_s:
            self.line_at, self.told = time.monotonic(), True
            self.tell()

    def begin_at(self, done_bytes: int) -> None:
        """So many bytes are there from before, which is told at once."""
        self.done_bytes = done_bytes
        self.tell(" are there, and it goes on")

    def tell(self, more: str = "") -> None:
        """A line."""
        done, whole = self.done_bytes / MB, self.size_bytes / MB
        log.info(
            "%-8s %s  %s of %s MB%s", self.what, self.name, f"{done:,.0f}", f"{whole:,.0f}", more
        )
