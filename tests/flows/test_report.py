"""`vae report`: the page of any run in a store."""

from pathlib import Path

from tests.support.command import vae
from vae.experiments.loading import load_experiment
from vae.runs.run import open_run
from vae.store.local import LocalStore


def test_any_run_has_a_report(tmp_path: Path) -> None:
    """One that has only begun as well; of a run that is not there nothing is written."""
    store = LocalStore(tmp_path / "store")
    open_run(store, "mine", load_experiment("tiny"))
    done = vae("report", "mine", "--store", store.uri, "--out", "page.html", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "page.html shows run mine\n"
    assert "This run has not ended" in (tmp_path / "page.html").read_text(encoding="utf-8")
    done = vae("report", "mime", "--store", store.uri, "--out", "other.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vae: unknown run 'mime'") and "mine" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "other.html").exists()
