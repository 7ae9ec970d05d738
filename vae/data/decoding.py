"""A part of a set decoded: in this process, or in one that does so for another.

As a module of its own it decodes what comes by its standard input until that ends.
"""

import os
import pickle
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vae.data.decoded import Outcome, Part, Source, keep
from vae.data.images import Look, decode
from vae.data.places import LocalFolder, show_name
from vae.data.traits import note
from vae.errors import UserError
from vae.files import hash_bytes


def decode_part(part: Part, folder: Path, files: list[str]) -> None:
    """Decode the files of a part, which lie in a folder of this machine under these names.

    Raises UserError for one that is not what it was, or broken, OSError where it can't be written.
    """

    place = LocalFolder(folder)

    def read() -> Iterator[Outcome]:
        for source, file in zip(part.sources, files, strict=True):
            outcome = decode_file(source, place.read(file), part.look)
            if isinstance(outcome, UserError) and not part.skip:
                raise outcome
            yield outcome

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of decoders, about what is beside the pixels
        keep(part, read())


def decode_file(source: Source, data: bytes, look: Look) -> Outcome:
    """The image in a file, or why there is none. Raises UserError if the file has changed."""
    if hash_bytes(data) != source.sha256:
        raise UserError(f"{show_name(source.name)}: it has changed while the set was read")
    try:
        image, changes = decode(data, look)
    except UserError as error:
        return UserError(f"{show_name(source.name)}: {error}")
    return image, note(image), changes


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Decode part after part, and answer each with None or the error that it raised."""
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:  # who asked is gone
            return
        answer = None
        try:
            decode_part(*request)
        except (UserError, OSError) as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as told:
        os.dup2(2, 1)  # what a library prints is no answer
        serve(sys.stdin.buffer, told)
