"""What a stage reads of those before it."""

from flows.session import Session
from vae.errors import EndedRunError
from vae.experiments.loading import apply_overrides, parse_experiment
from vae.experiments.settings import Experiment
from vae.models.networks import VAE
from vae.training import checkpoints
from vae.training.fit import restore_averaged


def read_winner(session: Session) -> Experiment:
    """The experiment with the settings that won the search."""
    overrides = session.require_result("search")["overrides"]
    return parse_experiment(apply_overrides(session.run.experiment.to_dict(), overrides))


def load_trained_model(session: Session) -> VAE:
    """The model that the train stage left. Raises UserError."""
    return load_best_epoch(session, session.require_result("train")["history"])


def load_best_epoch(session: Session, history: checkpoints.History) -> VAE:
    """The model of the best epoch, from the run's checkpoints. Raises EndedRunError."""
    run, experiment = session.run, read_winner(session)
    content = checkpoints.read_best(run.store, f"{run.prefix}/checkpoints", history)
    if content is None:
        raise EndedRunError(
            f"the checkpoint of the best epoch of run '{run.run_id}', "
            f"{checkpoints.find_best_epoch(history)}, is missing or corrupt: begin a new run"
        )
    return restore_averaged(content, experiment, session.dataset.shape)
