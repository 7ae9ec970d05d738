"""Views and reports, made through a server of W&B's protocol."""

from collections.abc import Iterator

import pytest
import wandb

from tests.support.refusals import catch_refusal
from tests.support.wandb_server import WandbServer
from tests.support.wandb_views import find_panels, list_keys
from vae.tracking.dashboard import Place, find_place, save_report, save_view
from vae.tracking.panels import Searched

pytestmark = pytest.mark.slow
LATENTS, RATE = Searched("model.latent_dim", False), Searched("train.learning_rate", True)
COLUMNS = ["config:model.value.latent_dim", "config:train.value.learning_rate"]


@pytest.fixture(autouse=True)
def ended_wandb() -> Iterator[None]:
    """No service of W&B's outlives a test, nor what it was told of the server."""
    yield
    wandb.teardown()


def find_columns(spec: object) -> list[list[str]]:
    """What the parallel coordinates show beside the loss."""
    kind = "Parallel Coordinates Plot"
    shown = [list_keys(one) for one in find_panels(spec) if one["viewType"] == kind]
    assert all(keys[-1] == "summary:best/val_loss" for keys in shown)
    return [keys[:-1] for keys in shown]


def test_a_view_is_made_once_and_then_replaced(online: WandbServer) -> None:
    """It is found by its experiment alone; another experiment, or all, has a view of its own."""
    place = find_place()
    assert place == Place("team", "vae-pipeline")
    first = save_view(place, "digits", [LATENTS])
    assert save_view(place, "digits", [LATENTS, RATE]) == first
    assert first.startswith(f"{online.url}/team/vae-pipeline?nw=")
    specs = online.list_specs()
    assert [*specs] == ["digits"]
    assert find_columns(specs["digits"]) == [COLUMNS]
    others = [save_view(place, "shapes", []), save_view(place, None, [])]
    assert len({first, *others}) == len(online.views) == 3


def test_a_view_shows_the_runs_of_its_experiment(online: WandbServer) -> None:
    """By its name among their tags; that of all experiments leaves out none."""
    save_view(find_place(), "digits", [])
    save_view(find_place(), None, [])
    mine, every = [
        one["section"]["runSets"][0]["filters"]["filters"] for one in online.list_specs().values()
    ]
    assert [(one["key"], one["op"], one["value"]) for one in mine] == [
        ({"section": "run", "name": "tags"}, "IN", ["digits"])
    ]
    assert every == []


def test_a_report_is_made_once_and_then_replaced(online: WandbServer) -> None:
    """Of each search one; a report that somebody renamed is left as it is."""
    place = find_place()
    first = save_report(place, "night-1", "It **won**.", [LATENTS])
    assert save_report(place, "night-1", "It lost.", [RATE, LATENTS]) == first
    ((view_id, view),) = online.views.items()
    assert "It lost." in view["spec"] and "won" not in view["spec"]
    assert find_columns(online.list_specs()["Search of night-1"]) == [COLUMNS[::-1]]
    view["displayName"] = "Ours"
    again = save_report(place, "night-1", "It won.", [LATENTS])
    assert again != first and len(online.views) == 2
    assert online.views[view_id]["spec"] == view["spec"]


def test_a_report_draws_the_two_settings_that_mattered_most(online: WandbServer) -> None:
    """Against each other, those that were drawn by their logarithm on such an axis."""
    save_report(find_place(), "night-1", "", [RATE, LATENTS, Searched("train.ema_decay", False)])
    (spec,) = online.list_specs().values()
    drawn = [one["config"] for one in find_panels(spec) if one["viewType"] == "Scatter Plot"]
    (pair,) = [one for one in drawn if one["xAxis"].startswith("config:")]
    assert [pair["xAxis"], pair["yAxis"]] == COLUMNS[::-1]
    assert (pair["xAxisLogScale"], pair.get("yAxisLogScale")) == (True, None)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WANDB_MODE": "offline"}, "WANDB_MODE is 'offline'"),
        ({"WANDB_API_KEY": ""}, "set WANDB_API_KEY"),
        ({"WANDB_BASE_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9 does not answer"),
    ],
)
@pytest.mark.usefixtures("online")
def test_what_is_missing_is_told_in_a_line(
    environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, without a key, without a server."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert told in catch_refusal(find_place)


def test_what_wandb_refuses_is_told_in_a_line(online: WandbServer) -> None:
    """In W&B's own words."""
    place = find_place()
    online.errors = {"errors": [{"message": "permission denied"}]}
    told = catch_refusal(save_view, place, "digits", [])
    assert told.startswith("W&B made no dashboard: ") and "permission denied" in told
