"""The cluster: all of Ray but Tune. Importing it sets what Ray reads when it is first imported."""

import os
import sys

# In the driver and in workers; a value that the user has set stays.
RAY_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or workers rebuild the environment under `uv run`
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # or what still runs after a shutdown starts another session
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # its poll period: 2 s more per fit otherwise
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # It would shut every log handler of the process with the controller, Prefect's among them.
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints tables even when asked for silence
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes the one machine away with a warning
}
# As Ray advises. It reads this once, when it is imported, and the processes that it starts later
# would read another value than it did.
AUTHENTICATION = {"RAY_AUTH_MODE": "token"}


def set_environment() -> None:
    """Set the variables that are not set, those of a local cluster unless one is to be joined."""
    wanted = dict(RAY_ENVIRONMENT)
    if not os.environ.get("RAY_ADDRESS"):
        wanted |= LOCAL_ENVIRONMENT | ({} if "ray" in sys.modules else AUTHENTICATION)
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


set_environment()
