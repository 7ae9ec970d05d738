"""Train, judge, publish and use image VAEs."""

import os

# Ray reads these when it is first imported, in this process and in its workers; a value that the
# user has set stays.
_RAY_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or workers rebuild the environment under `uv run`
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # or what still runs after a shutdown starts another session
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # its poll period: 2 s more per fit otherwise
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints tables even when asked for silence
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
for _name, _value in _RAY_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
if "RAY_ADDRESS" not in os.environ:  # a local cluster of our own: with a token, as Ray advises,
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    # and nobody takes its one machine away with a warning.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
