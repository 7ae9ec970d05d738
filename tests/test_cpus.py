"""The CPUs of a container are those that it is granted, not those of its machine."""

import math
from pathlib import Path

import pytest

from vae.cpus import count_cpus, read_quota


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_the_quota_of_either_version(
    tmp_path: Path, files: dict[str, str], expected: float
) -> None:
    """As Docker's --cpus and Kubernetes' limits set it."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read_quota(tmp_path) == expected


def test_here_there_is_one_at_least() -> None:
    """And no more than the quota grants, rounded up."""
    assert 1 <= count_cpus() <= math.ceil(min(read_quota(), 1e6))
