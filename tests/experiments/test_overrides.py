"""KEY=VALUE on the command line: a setting replaced, or a mistake in one line."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae.errors import UserError
from vae.experiments.loading import load_experiment, parse_override
from vae.experiments.settings import Experiment, Value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=3", 3),
        ("a.b = 3e-4 ", 3e-4),
        ("a.b=[64, 32]", [64, 32]),
        ("a.b=true", True),
        ('a.b="3"', "3"),
        ("a.b=fashion-mnist", "fashion-mnist"),
        ("a.b=/data/x=y.npy", "/data/x=y.npy"),
        ("a.b=", ""),
        ("a.b=1\nc=2", "1\nc=2"),
    ],
)
def test_overrides(text: str, value: object) -> None:
    """A value is TOML where it can be, and a bare string otherwise."""
    assert parse_override(text) == ("a.b", value)


@pytest.mark.parametrize("text", ["train.epochs", "=3", " =3", ""])
def test_no_override(text: str) -> None:
    """Without a key or an equals sign the form is shown."""
    with pytest.raises(UserError, match="takes KEY=VALUE"):
        parse_override(text)


@pytest.mark.parametrize(
    "text",
    ["train=3", "a.b.c=1", "train..epochs=3", "name.x=3", "train.epochs=2020-01-01", "seed={}"],
)
def test_overrides_of_nothing(text: str) -> None:
    """An override that fits no setting is refused in one line."""
    with pytest.raises(UserError) as error:
        load_experiment("tiny", dict([parse_override(text)]))
    assert "\n" not in str(error.value)


@given(
    key=st.from_regex(r"[a-z_]+(\.[a-z_]+)*", fullmatch=True),
    value=st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans(),
)
def test_numbers_survive_the_command_line(key: str, value: float) -> None:
    """Numbers and truths are read as themselves, in value and in type."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    found = parse_override(f"{key}={text}")
    assert found == (key, value)
    assert type(found[1]) is type(value)


@given(st.text())
def test_any_text_is_an_override_or_a_mistake(text: str) -> None:
    """Whatever is given is read, or refused with a UserError, and nothing else is raised."""
    try:
        key, value = parse_override(text)
    except UserError:
        assert not text.partition("=")[0].strip() or "=" not in text
    else:
        assert key == text.partition("=")[0].strip()
        assert value is not None


def flat(experiment: Experiment) -> dict[str, Any]:
    """Every setting by its dotted name."""
    tables = experiment.to_dict()
    own = {key: tables.pop(key) for key in ("name", "seed")}
    return own | {f"{name}.{key}": table[key] for name, table in tables.items() for key in table}


TINY = flat(load_experiment("tiny"))
VALUES = st.integers(-2, 9) | st.floats(0, 1) | st.booleans() | st.text() | st.just("cosine")


@given(st.sampled_from(sorted(TINY)) | st.text(), VALUES | st.lists(st.integers(0, 9)))
def test_any_override_is_kept_or_a_mistake(key: str, value: Value) -> None:
    """What is accepted is the setting's value, and no other setting changes; or a UserError.

    But that another dataset gives another name.
    """
    with contextlib.suppress(UserError):
        found = flat(load_experiment("tiny", {key: value}))
        renamed = {"name": found["name"]} if key == "data.name" else {}
        assert found == TINY | {key: value} | renamed
