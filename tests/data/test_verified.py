"""Files that are hashed once: seen by place, size and time, and hashed anew after a change."""

import os
from pathlib import Path

import pytest

from vae.data.verified import WrongContentError, verify_once
from vae.files import hash_bytes


@pytest.mark.parametrize("small_bytes", [0, 100])
def test_a_large_file_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_bytes: int
) -> None:
    """What changes a file's time or size is noticed; a small file is always hashed."""
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    path, digest = tmp_path / "file", hash_bytes(b"right")
    path.write_bytes(b"right")
    os.utime(path, (1, 1))
    verify_once(path, digest, small_bytes)
    assert (tmp_path / "cache").exists() == (small_bytes == 0)
    path.write_bytes(b"wrong")
    with pytest.raises(WrongContentError, match=hash_bytes(b"wrong")):
        verify_once(path, digest, small_bytes)
    os.utime(path, (1, 1))
    if small_bytes:
        with pytest.raises(WrongContentError):
            verify_once(path, digest, small_bytes)
    else:
        verify_once(path, digest, small_bytes)
        with pytest.raises(WrongContentError):
            verify_once(path, hash_bytes(b"another"), small_bytes)
