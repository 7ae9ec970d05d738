"""What is said of an error."""

import traceback

from vae.errors import describe_error


def test_of_a_quoted_traceback_only_what_was_raised_is_told() -> None:
    """Ray's errors hold the tracebacks of others, which are no line for anybody."""
    try:
        raise ValueError("latent_dim is 0")
    except ValueError:
        quoted = traceback.format_exc()
    assert describe_error(RuntimeError(quoted)) == "RuntimeError: ValueError: latent_dim is 0"
    assert describe_error(RuntimeError("two\nlines")) == "RuntimeError: two lines"
    assert describe_error(RuntimeError()) == "RuntimeError: RuntimeError"
