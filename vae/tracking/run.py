"""One W&B run as the driver sees it."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vae.tracking.session import Session

if TYPE_CHECKING:
    import wandb

# Of these, a run's summary keeps the lowest, not the last.
MINIMISED = frozenset({"val/loss", "val/nelbo", "val/bits_per_dim"})


class TrackedRun:
    """One W&B run, opened by `Tracker.run`. Methods return at once; no fault of W&B is raised."""

    def __init__(self, session: Session, job_type: str, name: str) -> None:
        self.job_type = job_type
        self.name = name
        self._session = session
        self._defined: set[str] = set()  # used on the background thread alone
        self._finished = False

    def log(self, metrics: Mapping[str, float], *, step_metric: str = "epoch") -> None:
        """Add a point to each curve of `metrics`, drawn over its `step_metric`.

        Raises ValueError if `metrics` lacks `step_metric`.
        """
        if step_metric not in metrics:
            raise ValueError(f"metrics must hold {step_metric!r}, got {sorted(metrics)}")
        values = {key: float(value) for key, value in metrics.items()}

        def call(run: "wandb.Run") -> None:
            for key in values.keys() - self._defined - {step_metric}:
                summary = "min" if key in MINIMISED else None
                run.define_metric(key, step_metric=step_metric, summary=summary)
                self._defined.add(key)
            run.log(values)

        self._submit("log", call)

    def log_images(self, key: str, pictures: Mapping[str, bytes]) -> None:
        """Show PNG pictures, caption to bytes, side by side under `key`."""
        pngs = dict(pictures)

        def call(run: "wandb.Run") -> None:
            import wandb
            from PIL import Image

            shown = [
                wandb.Image(Image.open(io.BytesIO(png)), caption=caption)
                for caption, png in pngs.items()
            ]
            run.log({key: shown})

        self._submit("images", call)

    def log_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show a table under `key`; the cells of a column share one type."""
        names: list[str | int] = list(columns)
        cells = [list(row) for row in rows]

        def call(run: "wandb.Run") -> None:
            import wandb

            run.log({key: wandb.Table(columns=names, data=cells)})

        self._submit("table", call)

    def set_summary(self, values: Mapping[str, object]) -> None:
        """Set final values, the columns by which W&B compares runs."""
        settled = dict(values)
        self._submit("summary", lambda run: run.summary.update(settled))

    def log_reference(
        self,
        name: str,
        kind: str,
        uri: str,
        *,
        files: Mapping[str, str],
        aliases: Sequence[str],
        metadata: Mapping[str, object],
    ) -> None:
        """Point to `files` (name to sha256) below `uri` as an artifact; nothing is read or sent."""
        digests, labels = dict(files), list(aliases)
        facts = {**metadata, "uri": uri, "sha256": digests}

        def call(run: "wandb.Run") -> None:
            run.log_artifact(_build_reference(name, kind, uri, digests, facts), aliases=labels)

        self._submit("artifact", call)

    def finish(self, exit_code: int = 0) -> None:
        """End the run, once; a non-zero code marks it failed."""
        if not self._finished:
            self._finished = True
            self._submit("finish", lambda run: self._finish(run, exit_code), must=True)

    def _finish(self, run: "wandb.Run", exit_code: int) -> None:
        del self._session.opened[self]
        run.finish(exit_code=exit_code)

    def _submit(
        self, what: str, call: Callable[["wandb.Run"], object], *, must: bool = False
    ) -> None:
        session = self._session
        session.background.submit(lambda: session.perform(self, what, call), must=must)


def _build_reference(
    name: str, kind: str, uri: str, files: Mapping[str, str], metadata: dict[str, object]
) -> "wandb.Artifact":
    """Build what `add_reference(checksum=False)` would, were boto3 installed and files local."""
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
    from wandb.sdk.lib.paths import LogicalPath

    artifact = wandb.Artifact(name, kind, metadata=metadata)
    for file, sha256 in files.items():
        place = f"{uri.rstrip('/')}/{file}"
        entry = ArtifactManifestEntry(
            path=LogicalPath(file), ref=place, digest=place, extra={"sha256": sha256}
        )
        artifact.manifest.add_entry(entry)
    return artifact
