"""What a user is told of a mistake."""

from collections.abc import Callable

import pytest

from vae.errors import UserError


def catch_refusal(call: Callable[..., object], *arguments: object) -> str:
    """The one line in which a call refuses its arguments; fails if it does not, or says more."""
    with pytest.raises(UserError) as raised:
        call(*arguments)
    message = str(raised.value)
    assert "\n" not in message
    return message
