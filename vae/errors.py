"""What a user can fix, told in one line."""

import difflib
from collections.abc import Iterable

TRACEBACK = "Traceback (most recent call last):"
TRACEBACKS = "vae.tracebacks"  # the logger of what Prefect keeps and a console does not show


class UserError(Exception):
    """A mistake the user can fix: one line with what, what was given and what is allowed.

    The command line prints it and exits with status 2; nothing is retried.
    """


class RefusedError(UserError):
    """A store lets nothing be done, whatever the object: what is in it is not damaged for that."""


class EndedRunError(UserError):
    """A run that can't go on: it would end the same way again, and the line says what to do."""


class FailedRunError(Exception):
    """What no user can fix, in one line, with exit status 1; its traceback is in Prefect's log."""


def suggest(given: str, allowed: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the allowed name nearest to `given`, or ""."""
    matches = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.5)
    return f", did you mean '{matches[0]}'?" if matches else ""


def extract_message(error: BaseException) -> str:
    """What an error says, without line breaks; its class if it says nothing.

    Of a traceback, which Ray's errors quote, its last line: what was raised.
    """
    if isinstance(error, TimeoutError):
        return "timed out"
    said = str(error).strip() or type(error).__name__
    if TRACEBACK in said:
        said = said.splitlines()[-1]
    return " ".join(said.split())


def describe_error(error: BaseException) -> str:
    """An error in one line, led by its class unless it is one that the user can fix."""
    if isinstance(error, UserError):
        return extract_message(error)
    return f"{type(error).__name__}: {extract_message(error)}"
