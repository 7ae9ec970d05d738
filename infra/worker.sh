#!/usr/bin/env bash
# A Prefect worker that runs flows as processes, each the driver of a training run on the cluster at
# RAY_ADDRESS. A Ray driver talks to a raylet in its own container, so this one is a Ray node too,
# with no CPUs or GPUs of its own: the cluster never schedules work here.
set -euo pipefail
set -m # or bash starts background jobs deaf to SIGINT, which is how the worker stops itself

prefect worker start --pool "$PREFECT_DEFAULT_WORK_POOL_NAME" --type process --limit 1 \
    --with-healthcheck &
worker=$!

stopping=""
stop_worker() { # once: the worker takes a second signal for an order to die at once
    [[ $stopping ]] || kill -TERM "$worker" 2>/dev/null || true
    stopping=yes
}
status=0
trap 'status=143; stop_worker' TERM INT

ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --block &
raylet=$!

# Either without the other is useless: whichever ends first, or a signal, ends both, and the restart
# policy acts. The raylet goes last, so that a run which the worker ends still reaches the cluster.
wait -n "$worker" "$raylet" || status=$?
stop_worker
wait "$worker" || true
kill -TERM "$raylet" 2>/dev/null || true
wait "$raylet" || true
exit "$status"
