"""How much each setting mattered in a search."""

from collections.abc import Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from ray.tune.search.optuna import OptunaSearch

from tuning.space import build_space
from vae.experiments.search import SearchConfig
from vae.runs.trials import Trial

BEST_SHARE = 0.25  # of the trials, whose settings are set against those of all
ENOUGH = 8  # trials: the best of fewer are one, and of what one has, no part is the cause


def measure_importance(config: SearchConfig, trials: Sequence[Trial]) -> dict[str, float]:
    """The share of each setting, largest first, in what makes the best quarter of trials the best.

    By PED-ANOVA, from the trials that finished, those among them that were stopped early. The
    shares add up to 1; none where fewer than 8 trials finished or all have the same loss.
    """
    finished = [trial for trial in trials if trial.finished]
    if len(finished) < ENOUGH or len({trial.loss for trial in finished}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = OptunaSearch.convert_search_space(build_space(config.space))
    study = optuna.create_study(direction="minimize")
    for trial in finished:
        params = {name: trial.overrides[name] for name in space}
        study.add_trial(optuna.create_trial(value=trial.loss, params=params, distributions=space))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    shares = get_param_importances(study, evaluator=evaluator, params=sorted(space))
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
