"""Who is told of a search in tests."""

from typing import Any

from vae.runs.trials import Trial


class Silent:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.resumed: list[list[dict[str, float]]] = []
        self.ended: list[Trial] = []

    def on_epoch(self, number: int, overrides: dict[str, Any], row: dict[str, float]) -> None:
        """Remember the metrics."""
        self.rows.append(row)

    def on_resume(
        self, number: int, overrides: dict[str, Any], rows: list[dict[str, float]]
    ) -> None:
        """Remember what was kept."""
        self.resumed.append(rows)

    def on_end(self, trial: Trial) -> None:
        """Remember the trial."""
        self.ended.append(trial)
