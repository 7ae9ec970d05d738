"""How much each setting mattered in a search."""

from collections.abc import Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from ray.tune.search.optuna import OptunaSearch

from tuning.space import build_finished, build_space
from vae.experiments.search import SearchConfig
from vae.runs.trials import Trial

BEST_SHARE = 0.25  # of the trials, whose settings are set against those of all
ENOUGH = 8  # trials: the best of fewer are one, and of what one has, no part is the cause


def measure_importance(config: SearchConfig, trials: Sequence[Trial]) -> dict[str, float]:
    """The share of each setting, largest first, in what makes the best quarter of trials the best.

    By PED-ANOVA, from the trials that finished, those among them that were stopped early. The
    shares add up to 1; none where fewer than 8 trials finished or all have the same loss, nor of a
    setting that varies on a condition.
    """
    finished = [trial for trial in trials if trial.finished]
    if len(finished) < ENOUGH or len({trial.loss for trial in finished}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = OptunaSearch.convert_search_space(build_space(config.space))
    always = sorted(name for name in space if not config.space[name].when)
    study = optuna.create_study(direction="minimize")
    for trial in finished:
        params = {name: trial.overrides[name] for name in always}
        study.add_trial(build_finished(space, params, trial.loss))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    shares = get_param_importances(study, evaluator=evaluator, params=always)
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
