"""What nobody needs any more leaves the store: `vae gc` as a Prefect flow, for a schedule."""

import os
import time
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from flows.notices import notify_end
from vae.store.open import open_store
from vae.upkeep.report import summarise, to_markdown
from vae.upkeep.sweep import make_policy, sweep


@flow(
    name="gc",
    persist_result=False,
    on_failure=[notify_end],
    on_crashed=[notify_end],
    on_cancellation=[notify_end],
)
def gc(
    store: str | None = None,
    keep: Annotated[int, Field(ge=1)] = 5,
    older_than: str = "30d",
    delete: bool = True,
) -> dict[str, Any]:
    """Delete old runs, checkpoints, versions and datasets; leave a list of them as an artifact.

    Args:
        store: a folder, file:///path or s3://bucket/prefix; else VAE_STORE, else ./store
        keep: how many of the newest versions of each model stay, beside the best and the named ones
        older_than: what is older goes, such as 12h, 30d or 2w
        delete: off to only list what would go
    """
    opened = open_store(store or os.environ.get("VAE_STORE", "./store"))
    swept = sweep(opened, make_policy(keep, older_than, time.time()), delete=delete)
    create_markdown_artifact(to_markdown(swept), key="gc", description=f"What went of {opened.uri}")
    if swept.failed:
        raise RuntimeError(f"{len(swept.failed)} things were not deleted: {swept.failed[0]}")
    return {"deleted": swept.deleted, "said": summarise(swept)}
