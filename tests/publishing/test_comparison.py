"""Two versions side by side."""

from pathlib import Path
from typing import Any

from tests.support.versions import publish_version, write_version
from vae.publishing.comparison import compare, format_comparison
from vae.store.promises import Store


def test_bounds_of_another_scale_are_said_not_to_compare(local: Store, tmp_path: Path) -> None:
    """Of another dataset, binarisation or likelihood; of two alike nothing is said."""
    files, plain = write_version(tmp_path / "built", 0.5), dict[str, Any](binarize_seed=0)
    pixels = {"v1": plain, "v2": plain, "grey": {"binarize": "none"}}
    for version, data in pixels.items():
        publish_version(local, version, files, experiment={"data": data})
    publish_version(local, "other", files, dataset="e" * 64, experiment={"data": plain})
    warnings = {
        version: compare(local, ("m", "v1"), ("m", version)).warning
        for version in ("v2", "grey", "other")
    }
    assert warnings == {
        "v2": "",
        "grey": "their bounds don't compare: A has val/nll of binarisation 0, "
        "B val/nll of grey levels",
        "other": "they are of different datasets: their metrics don't compare",
    }
    found = compare(local, ("m", "v1"), ("m", "grey"))
    assert f"   {warnings['grey']}" in format_comparison(found)
