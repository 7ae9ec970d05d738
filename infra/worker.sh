#!/usr/bin/env bash
# A Prefect worker that runs flows as processes, each the driver of a training run on the cluster at
# RAY_ADDRESS. A Ray driver talks to a raylet in its own container, so this one is a Ray node too,
# with no CPUs or GPUs of its own: the cluster never schedules work here.
#
# The worker is named after its machine, by which runs that it left are known.
set -euo pipefail
set -m # Ctrl-C in a terminal is for this script alone, which ends the others in order

python -P -m flows.orphans # what was at work when this machine's worker was killed has crashed

# Prefect looks for runs every 10 s, as long as a person takes to wonder what became of a trigger.
export PREFECT_WORKER_QUERY_SECONDS="${PREFECT_WORKER_QUERY_SECONDS:-2}"
prefect worker start --pool "$PREFECT_DEFAULT_WORK_POOL_NAME" --name "$(uname -n)" \
    --type process --limit 1 --with-healthcheck &
worker=$!

SAVE_S=6 # from the notice to the end of the run's process
stopping="" raylet=""
# Stopped in order, the worker would kill the run at work and tell nobody, which then is Running for
# ever. So it is killed first, takes no other run meanwhile, and its run waits for the next worker:
# from where it is now, for Ray gives the run notice that its node will be gone, and it is saved.
stop_worker() {
    [[ $stopping ]] && return
    stopping=yes
    kill -KILL "$worker" 2>/dev/null || true
    wait "$worker" 2>/dev/null || true
    if kill -TERM "$raylet" 2>/dev/null; then sleep "$SAVE_S"; fi
    python -P -m flows.orphans --hand-over || true
}
status=0
trap 'status=143; stop_worker' TERM INT

ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --block &
raylet=$!

# Either without the other is useless: whichever ends first, or a signal, ends both, and the restart
# policy acts. The raylet goes last, once it is idle, so that the cluster learns what became of the
# run's driver.
wait -n "$worker" "$raylet" || status=$?
stop_worker
kill -TERM "$raylet" 2>/dev/null || true
wait "$raylet" || true
exit "$status"
