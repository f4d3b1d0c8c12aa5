#!/bin/sh
# Plan a rollout and start its first stage, 10 %, in the background.
# Arguments go to `graygate start 10pct`. Exit codes: 0 started, 2 wrong input, 3 refused, 4 the service does not answer.
set -eu
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
export GRAYGATE_HOME="${GRAYGATE_HOME:-$root/var}"
exec "$root/.venv/bin/graygate" start 10pct "$@"
