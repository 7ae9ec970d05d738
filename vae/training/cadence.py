"""When training is saved within an epoch: by rank 0's clock, at a step that all ranks agree on."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

LOOK_S = 1.0  # between two looks at the clock, each of which all ranks wait for


class Cadence:
    """Counts steps from one save to the next.

    The ranks agree only now and then: at every look rank 0 says whether to save, and after how many
    steps the next look is. `interval_s`: infinite for never, unless it is `asked` for on rank 0.
    `reduce` sums a float64 tensor over ranks.
    """

    def __init__(
        self,
        interval_s: float,
        rank: int,
        reduce: Callable[[Tensor], Tensor],
        read_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval_s, self.rank = interval_s, rank
        self.reduce, self.read_clock = reduce, read_clock
        self.asked = False
        self.restart()

    def restart(self) -> None:
        """Count from here: an epoch begins, or training has just been saved."""
        self.saved_at = self.looked_at = self.read_clock()
        self.ahead = self.left = 1  # steps from a look to the next, and those still to make

    def is_due(self) -> bool:
        """Whether to save after the step just made. Collective: every rank calls it every step."""
        self.left -= 1
        if self.left:
            return False
        said = self.decide() if self.rank == 0 else (0.0, 0.0)
        due, ahead = self.reduce(torch.tensor(said, dtype=torch.float64)).tolist()
        self.ahead = self.left = int(ahead)
        return bool(due)

    def decide(self) -> tuple[float, float]:
        """Rank 0's word: whether to save, and the steps to the next look.

        They are at most twice those before: the first steps, and those that a GPU has only queued,
        say little of how long one takes.
        """
        now = self.read_clock()
        took_s, self.looked_at = now - self.looked_at, now
        due = self.asked or now - self.saved_at >= self.interval_s
        if due:
            self.saved_at, self.asked = now, False
        left_s = min(LOOK_S, self.saved_at + self.interval_s - now)
        ahead = min(2.0, left_s / took_s) * self.ahead if took_s else 1
        return float(due), float(max(1, int(ahead)))
