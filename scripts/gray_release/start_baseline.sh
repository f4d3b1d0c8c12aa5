#!/bin/sh
# Start the service anew with STRATEGY_MODE=quiet and DYNAMIC_MODE_ENABLED=false, and read it back.
# Arguments go to `graygate baseline`. Exit codes: 0 done, 3 there is no rollout, 4 it does not start or does not obey, 5 done without a journal.
set -eu
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
export GRAYGATE_HOME="${GRAYGATE_HOME:-$root/var}"
exec "$root/.venv/bin/graygate" baseline "$@"
