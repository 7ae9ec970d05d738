"""What a search keeps of its trials, without Ray at work."""

from datetime import UTC, datetime
from pathlib import Path

from ray.tune.experiment import Trial as TuneTrial

from tuning.results import Trial
from tuning.search import Recorder, recorded
from vae.experiments.loading import load_experiment
from vae.runs.run import Run
from vae.store import open_store


def test_a_search_goes_on_where_numbers_are_missing(tmp_path: Path) -> None:
    """Of trials side by side a kill may leave the later one: no new one takes its place."""
    run = Run(
        run_id="r",
        experiment=load_experiment("tiny"),
        created=datetime.now(UTC),
        store=open_store(str(tmp_path)),
    )
    told: list[int] = []
    begun = [TuneTrial("trial", config={"train.learning_rate": rate}, stub=True) for rate in (1, 2)]
    first = Recorder(run, "search", [], lambda number, *_: told.append(number))
    assert [first.number(trial) for trial in begun] == [1, 2]
    first.on_trial_complete(1, begun, begun[1])
    done = recorded(run, "search")
    assert numbers(done) == [2]

    resumed = Recorder(run, "search", done, lambda number, *_: told.append(number))
    for trial in (TuneTrial("trial", config={}, stub=True) for _ in range(2)):
        resumed.on_trial_complete(1, [], trial)
    assert numbers(recorded(run, "search")) == [1, 2, 3]


def numbers(trials: list[Trial]) -> list[int]:
    return [trial.number for trial in trials]
