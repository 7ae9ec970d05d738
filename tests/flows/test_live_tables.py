"""How the live view draws a run: which rows, which figures, and that they fit."""

import io
import re

import pytest
from rich.console import Console

from flows.live_state import FitState, RunState, StageState
from flows.live_tables import describe_end, draw_run, format_seconds
from flows.stages import NAMES
from tests.support.terminal import read_output
from vae.runs.trials import Trial, format_overrides


@pytest.fixture
def state() -> RunState:
    """A run of three epochs, after twelve trials of four, that has not begun."""
    stages = {name: StageState(name) for name in NAMES}
    return RunState(stages=stages, trial_count=12, trial_epochs=4, fit=FitState(epochs=3))


def draw(state: RunState, now: float = 0.0, width: int = 100, height: int = 30) -> list[str]:
    """The lines of the region in a terminal of that size."""
    paper = Console(file=io.StringIO(), width=width, height=height, _environ={})
    paper.print(draw_run(state, now, paper.options))
    return [line.rstrip() for line in read_output(paper).splitlines()]


def make_row(epoch: int, loss: float = 160.0) -> dict[str, float]:
    """The metrics of an epoch that took two seconds."""
    row = {"epoch": epoch, "train/loss": loss + 5, "val/loss": loss, "images_per_s": 12345.0}
    return row | {"began": 50.0, "ended": 52.0}


def end_trial(state: RunState, number: int, loss: float | None, error: str | None = None) -> None:
    """A trial ends after its first epoch: it fails, or is stopped."""
    trial = Trial(
        number=number,
        overrides={"model.latent_dim": 4 * number},
        loss=loss,
        epochs=1,
        stopped=error is None,
        spans=[],
        error=error,
    )
    state.reach_trial(number, trial.overrides).tell_end(trial)


def test_the_best_trial_is_marked(state: RunState) -> None:
    """Every trial's newest state is a row, and the star goes where the lowest loss is."""
    state.tell_start("search", 0.0)
    assert draw(state)[1] == "waiting for the first epoch of a trial"
    overrides = {"model.latent_dim": 4, "train.learning_rate": 0.00123456}
    state.reach_trial(1, overrides).tell_epoch(make_row(1, 170.0))
    state.reach_trial(2, {"model.latent_dim": 8}).tell_epoch(make_row(1, 180.0))
    starred = [" ".join(line.split()) for line in draw(state) if "*" in line]
    assert starred == [f"* 1 of 12 1 of 4 170.00 running {format_overrides(overrides)}"]
    state.reach_trial(2, {}).tell_epoch(make_row(2, 165.0))
    state.reach_trial(2, {}).tell_epoch(make_row(3, float("nan")))
    end_trial(state, 1, 170.0)
    end_trial(state, 3, 1.0, error="ValueError: no")
    _, _, first, second, third = [" ".join(line.split()) for line in draw(state)]
    assert first == "1 of 12 1 of 4 170.00 stopped early latent_dim 4, learning_rate 0.00123"
    assert second == "* 2 of 12 3 of 4 165.00 running latent_dim 8"
    assert third == "3 of 12 1 of 4 1.00 failed latent_dim 12"


def test_trials_that_do_not_fit_are_counted(state: RunState) -> None:
    """In a short terminal the best one and the last told are left."""
    state.tell_start("search", 0.0)
    for number in range(1, 13):
        state.reach_trial(number, {}).tell_epoch(make_row(1, 150.0 + number))
    numbers = [line.replace("*", "").split()[0] for line in draw(state, height=7)[2:-1]]
    assert numbers == ["1", "10", "11", "12"]
    assert draw(state, height=7)[-1] == "and 8 more"


def test_trials_that_were_lost_are_forgotten(state: RunState) -> None:
    """A search that begins again keeps those that have ended."""
    state.tell_start("search", 0.0)
    for number in (1, 2):
        state.reach_trial(number, {}).tell_epoch(make_row(1))
    end_trial(state, 2, 160.0)
    state.tell_start("search", 1.0)
    assert list(state.trials) == [2]


@pytest.mark.parametrize(("first", "winner"), [(1, ": trial 1 of 12 wins, val 151.00"), (2, "")])
def test_the_winner_is_named_if_all_trials_are_known(
    state: RunState, first: int, winner: str
) -> None:
    """A search that goes on from another was not told of the trials before."""
    for number in range(first, 13):
        end_trial(state, number, 150.0 + number)
    state.stages["search"].seconds = 75.0
    expected = f"done in 1:15{winner} nats (latent_dim 4)" if winner else "done in 1:15"
    assert describe_end(state, "search") == expected


def test_the_training_shows_how_far_and_how_good(state: RunState) -> None:
    """A bar over the steps of all epochs, the newest figures, and the time that is left."""
    state.tell_start("train", 0.0)
    assert draw(state)[1] == "waiting for the workers' first steps"
    state.fit.tell_step(1, 10, 40, now=9.0)
    state.fit.tell_step(1, 20, 40, now=10.0)
    assert draw(state, 10.0)[1:] == ["━" * 10 + " " * 51 + "16%", "epoch 1 of 3  10 s left"]
    state.fit.tell_epoch(make_row(1), now=12.0)
    figures = "loss 165.00  val 160.00 nats  12,345 images/s"
    assert draw(state, 13.0)[2] == f"epoch 2 of 3  {figures}  3 s left"
    state.fit.tell_epoch(make_row(3), now=16.0)
    assert draw(state, 17.0)[1:] == [
        "━" * 60 + " 100%",
        f"epoch 3 of 3  {figures}  bounding the best epoch",
    ]


def test_the_time_left_is_that_of_a_steady_training() -> None:
    """Ten seconds an epoch: exact from the second step on, and on between two."""
    fit, steps = FitState(epochs=5), 8
    assert fit.estimate_left_s(0.0) is None
    for number in range(1, 5 * steps + 1):
        now, epoch = 10.0 * number / steps, (number - 1) // steps + 1
        fit.tell_step(epoch, number - steps * (epoch - 1), steps, now)
        if number % steps == 0:
            fit.tell_epoch({"epoch": epoch, "began": now - 10, "ended": now}, now)
        if number > 1:
            assert fit.estimate_left_s(now + 0.5) == pytest.approx(max(0, 50 - now - 0.5))


def test_workers_that_start_again_are_followed() -> None:
    """They go back to the last checkpoint: no time is negative, and what is left is more."""
    fit = FitState(epochs=2)
    for step, now in ((1, 1.0), (8, 8.0), (2, 30.0), (4, 32.0)):
        fit.tell_step(1, step, 10, now)
    assert fit.estimate_left_s(32.0) == pytest.approx(16.0)


@pytest.mark.parametrize(("width", "height"), [(40, 24), (40, 7), (20, 12), (300, 5)])
def test_the_region_fits_the_terminal(state: RunState, width: int, height: int) -> None:
    """Narrow or short, no line is too long, and all room is used for trials."""
    state.stages["data"].seconds = 3.0
    state.tell_start("search", 0.0)
    regions = [draw(state, 0.0, width, height)]
    stages = len(regions[0]) - 1
    for number in range(1, 13):
        state.reach_trial(number, {"train.learning_rate": 0.00123}).tell_epoch(make_row(1))
        regions.append(draw(state, 0.0, width, height))
    assert min(height - 1, stages + 13) <= len(regions[-1]) <= height
    if width >= 40:  # in fewer columns even what is always shown is cut
        head, first = regions[-1][stages : stages + 2]
        assert head.split()[-1] == ("settings" if width > 60 else "outcome")
        assert "160.00  running" in first
    state.stages["search"].seconds = 30.0
    state.tell_start("train", 30.0)
    state.fit.tell_epoch(make_row(1), 32.0)
    regions.append(draw(state, 33.0, width, height))
    for region in regions:
        assert len(region) <= height and max(len(line) for line in region) <= width


def test_a_run_that_stopped_in_its_search_is_compact(state: RunState) -> None:
    """The best trial is left of the table."""
    state.tell_start("search", 0.0)
    for number in (1, 2, 3):
        end_trial(state, number, 150.0 + number)
    state.over_s = 20.0
    row, _, best, more = draw(state)
    assert row == "· data  ✗ search not done  · train  · evaluate  · publish  20 s in all"
    assert best.split()[:2] == ["*", "1"] and more == "and 2 more"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1:00"), (3599.7, "1:00:00")],
)
def test_seconds_are_readable(seconds: float, shown: str) -> None:
    """Tenths below ten, then whole ones, which carry over."""
    assert format_seconds(seconds) == shown


def test_an_encoding_without_the_signs_has_others(state: RunState) -> None:
    """All that is drawn is ASCII where the terminal has no more."""
    sent = io.BytesIO()
    with io.TextIOWrapper(sent, "ascii", write_through=True) as file:
        paper = Console(file=file, width=80, _environ={})
        state.stages["data"].seconds = 1.0
        state.tell_start("search", 0.0)
        state.reach_trial(1, {"model.hidden": "x" * 90}).tell_epoch(make_row(1))
        paper.print(draw_run(state, 0.0, paper.options))
        state.stages["search"].seconds = 1.0
        state.tell_start("train", 0.0)
        state.fit.tell_epoch(make_row(1), 2.0)
        paper.print(draw_run(state, 2.0, paper.options))
        drawn = sent.getvalue().decode("ascii")
    assert re.match(r"\+ data 1.0 s  . search 0 s  - train", drawn)
    assert "\n+ data 1.0 s  + search 1.0 s" in drawn
