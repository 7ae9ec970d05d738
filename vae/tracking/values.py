"""What is shown of a run in W&B beside numbers, without wandb."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import wandb


class Label(NamedTuple):
    """What tells one W&B run from another; the same `run_id` continues it."""

    run_id: str
    job_type: str  # "search", "train" or "evaluate"
    name: str
    tags: tuple[str, ...] = ()
    notes: str = ""


class Picture(NamedTuple):
    """A PNG, and what is written below it."""

    png: bytes
    caption: str


class Histogram(NamedTuple):
    """How some numbers are spread."""

    values: Sequence[float]


Value = float | Picture | Histogram


class Reference(NamedTuple):
    """An artifact whose files stay where they are: their sha256 by name, below `uri`."""

    name: str
    kind: str  # "dataset" or "model"
    uri: str
    files: Mapping[str, str]
    metadata: Mapping[str, object]
    aliases: Sequence[str] = ()


def to_logged(value: Value) -> object:
    """A value as wandb takes it. Raises what Pillow does for a damaged PNG."""
    import wandb
    from PIL import Image

    if isinstance(value, Picture):
        return wandb.Image(Image.open(io.BytesIO(value.png)), caption=value.caption)
    if isinstance(value, Histogram):
        return wandb.Histogram(list(value.values))
    return float(value)


def build_artifact(reference: Reference) -> "wandb.Artifact":
    """Build what `add_reference(checksum=False)` would, were boto3 installed and files local."""
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
    from wandb.sdk.lib.paths import LogicalPath

    files, uri = dict(reference.files), reference.uri
    facts = {**reference.metadata, "uri": uri, "sha256": files}
    artifact = wandb.Artifact(reference.name, reference.kind, metadata=facts)
    for file, sha256 in files.items():
        place = f"{uri.rstrip('/')}/{file}"
        entry = ArtifactManifestEntry(
            path=LogicalPath(file), ref=place, digest=sha256, extra={"sha256": sha256}
        )
        artifact.manifest.add_entry(entry)
    return artifact
