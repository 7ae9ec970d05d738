"""What comes from workers, on its way to whoever looks; without Ray."""

from typing import Any, cast

import pytest

from vae.cluster.channel import Event
from vae.cluster.events import Follower
from vae.cluster.session import Resources, Workers
from vae.errors import UserError


def test_training_goes_on_where_it_can_not_be_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Each fault of a view is a warning, once; what the driver has to know still comes through."""

    def fail(event: Event) -> None:
        raise ConnectionError(event["epoch"])

    nobody = cast(Any, None)  # nothing is asked of the channel here
    follower = Follower(nobody, fail, Resources(2, 0, Workers()))
    for epoch in (1, 1, 2):
        follower.tell({"epoch": epoch})
    follower.tell({"refused": UserError("train.npy is damaged")})
    assert str(follower.refused.exception()) == "train.npy is damaged"
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"train    its progress is not shown in full: ConnectionError: {epoch}" for epoch in (1, 2)
    ]
