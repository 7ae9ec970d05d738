"""Hyper-parameter search. Ray's variables are set before it is imported here: see vae.cluster."""

import vae.cluster  # noqa: F401
