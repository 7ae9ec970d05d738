"""A version that a person wants to delete and a run still needs."""

from functools import partial

from tests.support.filled_stores import NAME, FilledStore
from tests.support.refusals import catch_refusal
from vae.experiments.loading import load_experiment
from vae.registry.curate import delete_version
from vae.registry.read import check_published
from vae.runs.run import open_run
from vae.upkeep.needed import refuse_if_needed


def test_a_version_that_a_run_begins_with_is_not_deleted(filled: FilledStore) -> None:
    """Until it is trained, also where the run begins between the two looks of a deletion."""
    store = filled.store
    for version in ("v1", "v2"):
        filled.add_version(version, float(version[1]))
    begin_with = load_experiment(NAME, {"search.trials": 0, "train.from": f"{NAME}@v2"})
    needed = partial(refuse_if_needed, store, NAME, "v2")
    begin = iter([lambda: open_run(store, "a", begin_with)])

    def refuse() -> None:
        needed()
        next(begin, lambda: None)()

    for check in (refuse, needed):
        said = catch_refusal(delete_version, store, NAME, "v2", "", check)
        assert said.startswith(f"{NAME}@v2 stays: run 'a' has yet to begin its training with it")
        assert check_published(store, NAME, "v2")
    open_run(store, "a").record("train", {})
    delete_version(store, NAME, "v2", "", needed)
    assert not store.list(f"models/{NAME}/versions/v2")
