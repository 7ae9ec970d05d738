"""What a trial asks of the cluster."""

import pytest

from tests.support.refusals import catch_refusal
from tuning.places import check_room, request_places
from vae.cluster.session import Resources, Workers
from vae.experiments.loading import load_experiment
from vae.experiments.search import SearchConfig

FOUR = SearchConfig(workers_per_trial=4)


def test_a_trial_has_a_device_for_each_worker_or_shares_one() -> None:
    """All or nothing; what has several train takes none itself."""
    alone, together = request_places(SearchConfig(), True), request_places(FOUR, False)
    assert (alone.bundles, alone.head_bundle_is_empty) == ([{"CPU": 0.01, "GPU": 1}], False)
    assert (together.bundles, together.head_bundle_is_empty) == ([{"CPU": 1}] * 4, True)
    [shared] = request_places(SearchConfig(trials_per_device=4), True).bundles
    assert shared["GPU"] == 0.25


def test_workers_that_find_no_device_are_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there will never be more; a cluster is waited for, and a line says so."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    check_room(FOUR, Resources(4, 0, Workers()))
    assert catch_refusal(check_room, FOUR, Resources(16, 2, Workers())) == (
        "search.workers_per_trial is 4, but there are 2 GPUs and each worker takes one: "
        "give at most 2"
    )
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    check_room(FOUR, Resources(3, 0, Workers()))
    told = "waits for 4 CPUs for a trial: the cluster has 3; it goes on when it has more"
    assert caplog.messages == [f"search   {told}"]


def test_a_trial_of_several_workers_shares_no_device() -> None:
    """NCCL refuses two ranks on one GPU."""
    both = {"search.workers_per_trial": 2, "search.trials_per_device": 2}
    assert "workers_per_trial is 2 and trials_per_device 2" in catch_refusal(
        load_experiment, "tiny", both
    )


def test_what_is_alone_on_its_device_shares_nothing() -> None:
    """Or somebody waits for a gain that can't come."""
    stacked = {"search.sharing": "stacked"}
    assert "sharing is 'stacked', but trials_per_device is 1: must be at least 2" in catch_refusal(
        load_experiment, "tiny", stacked
    )
