#!/usr/bin/env bash
# A Prefect worker that runs flows as processes, each the driver of a training run on the cluster at
# RAY_ADDRESS. A Ray driver talks to a raylet on its own node, so this container is a Ray node too,
# with no CPUs or GPUs of its own: the cluster never schedules work here.
set -euo pipefail

ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --block &
raylet=$!
prefect worker start --pool "$PREFECT_DEFAULT_WORK_POOL_NAME" --type process --limit 1 \
    --with-healthcheck &
worker=$!

# Either without the other is useless: whichever ends first, or a signal, ends both, and the restart
# policy acts. The worker gets its signal once (a second one kills it) and stops before the raylet,
# so that a run which it ends can still reach the cluster.
trap : TERM INT
status=0
wait -n "$raylet" "$worker" || status=$?
kill -TERM "$worker" 2>/dev/null || true
wait "$worker" || true
kill -TERM "$raylet" 2>/dev/null || true
wait "$raylet" || true
exit "$status"
