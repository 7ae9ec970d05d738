"""A run tracked in W&B, online, against a server of its protocol; offline: test_pipeline.py."""

import json
from pathlib import Path

import pytest

from tests.support.arrived_runs import check_arrived
from tests.support.command import vae
from tests.support.wandb_server import KEY, WandbServer, serve_wandb
from tests.support.wandb_views import find_panels, list_keys
from vae.tracking.dashboard import Place, build_view
from vae.tracking.panels import Searched

SETTINGS = (
    "train.epochs=2",
    'search={trials=2, epochs=1, confirm=1, space={"model.latent_dim"={choice=[3, 4]}}}',
)
RUN = ("run", "--experiment", "tiny", "--store", "my store", "--run-id", "first", "--workers", "1")


def check_dashboards(server: WandbServer, store: Path) -> None:
    """What they draw, the runs have: an unknown key is an empty panel."""
    made = vae("dashboard", "first", "--store", str(store), cwd=store.parent)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.count(f"{server.url}/team/vae-pipeline/reports/") == 1
    view = build_view(Place("team", "vae-pipeline"), "tiny", [Searched("model.latent_dim", False)])
    spec = json.loads(view._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    for panels in (find_panels(server.list_specs()["Search of first"]), find_panels(spec)):
        drawn = {key for panel in panels for key in list_keys(panel)}
        assert len(drawn) > 10
        assert drawn - list_tracked(server) == set()
    (runs,) = spec["section"]["runSets"]
    tracked = [f"run:{name}" for name in ("displayName", "jobType")]
    assert {*runs["runFeed"]["columnOrder"]} - list_tracked(server) == {*tracked}
    (named,) = runs["filters"]["filters"]
    assert all(named["value"][0] in run.last("tags") for run in server.runs.values())


def list_tracked(server: WandbServer) -> set[str]:
    """Every key of the runs that are tracked, as panels name it, and those of GPUs."""
    found = {f"system/gpu.{i}.{what}" for i in range(8) for what in ("gpu", "memoryAllocated")}
    found.add("_absolute_runtime")  # W&B's own clock
    for run in server.runs.values():
        found |= {key for row in run.history for key in row} | {*run.summary}
        found |= {f"summary:{key}" for key in run.summary}
        events = run.lines["wandb-events.jsonl"].values()
        found |= {key.replace("system.", "system/", 1) for row in events for key in row}
        for part, settings in run.config.items():
            names = settings if isinstance(settings, dict) else {}
            found |= {f"config:{part}.value.{name}" for name in names}
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_home")
def test_a_run_is_tracked_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of it is on the server when the command ends, and nothing waits in the store."""
    with serve_wandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_X_STATS_SAMPLING_INTERVAL", "0.5")  # seconds, for a short run
        done = vae(*RUN, *(part for text in SETTINGS for part in ("--set", text)), cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "W&B" not in done.stderr, done.stderr
        check_arrived(server, tmp_path / "my store")
        (taught,) = [run for name, run in server.runs.items() if name.endswith("first-search")]
        assert {key.partition("/")[0] for key in taught.summary} >= {"confirmed"}
        check_dashboards(server, tmp_path / "my store")
    assert not (tmp_path / "my store/runs/first/wandb").exists()
