"""Where `load_model` was in version 0.1, for those who import it from here."""

from vae.models import load_model

__all__ = ["load_model"]
