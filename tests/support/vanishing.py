"""A store in which somebody deletes while others look."""

from pathlib import Path

from vae.store.local import LocalStore


class Vanishing(LocalStore):
    """A store in a folder from which something goes as soon as it was listed."""

    def __init__(self, root: Path, going: str) -> None:
        super().__init__(root)
        self.going = going

    def list(self, prefix: str = "") -> list[str]:
        found = super().list(prefix)
        if any(key.startswith(f"{self.going}/") for key in found):
            self.delete(self.going)
        return found
