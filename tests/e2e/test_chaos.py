"""The short form of `make chaos`: one run on S3, three of its faults, the same weights."""

from pathlib import Path

import pytest

from tests.chaos.campaign import find_differences, play_round, publish_undisturbed
from tests.chaos.deck import pick
from tests.chaos.world import serve_bucket

HAND = (
    ("Prefect's server killed", "searching"),
    ("S3 token expired", "training"),
    ("raylet killed", "evaluating"),
)


@pytest.mark.usefixtures("quiet_home")
@pytest.mark.timeout(1800)
def test_a_run_under_faults_publishes_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    """Each fault is outlived, or ends the command in order and the run goes on from there."""
    with serve_bucket() as bucket:
        expected = publish_undisturbed(bucket, tmp_path)
        blows = [pick(bucket.kind, name, moment) for name, moment in HAND]
        outcomes = play_round(bucket, "struck", tmp_path, blows)
        assert [outcome.wrong for outcome in outcomes] == [""] * len(HAND)
        assert find_differences(bucket.watch(), "struck", expected) == []
