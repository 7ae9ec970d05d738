"""What a run's time budget leaves to a stage: seconds at work count, not those between attempts."""

from flows.session import Session
from vae.experiments.durations import parse_duration
from vae.runs.timing import measure_covered_s
from vae.runs.trials import Trial


def find_search_budget_s(session: Session) -> float | None:
    """Seconds of training after which the search begins no more trials; None: no limit."""
    own = parse_duration(session.run.experiment.search.time_budget)
    left = measure_left_s(session, ["data"])
    return min((limit for limit in (own, left) if limit is not None), default=None)


def find_train_budget_s(session: Session) -> float | None:
    """Seconds of training after which the fit begins no more epochs; None: no limit."""
    return measure_left_s(session, ["data", "search"])


def measure_left_s(session: Session, before: list[str]) -> float | None:
    """The seconds that the stages before have left of the run's budget; None: there is none."""
    budget_s = parse_duration(session.run.experiment.time_budget)
    if budget_s is None:
        return None
    return budget_s - sum(measure_spent_s(session, stage) for stage in before)


def measure_spent_s(session: Session, stage: str) -> float:
    """Seconds that a stage took: those of its last attempt, and of trials before that."""
    result = session.require_result(stage)
    trials = [Trial.from_dict(plain) for plain in result.get("trials", ())]
    computing_s = measure_covered_s(span for trial in trials for span in trial.spans)
    return max(float(result["time"]["seconds"]), computing_s)
