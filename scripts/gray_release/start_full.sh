#!/bin/sh
# Go on with stage 100 %, once a person let stage 50 % pass.
# Arguments go to `graygate start 100pct`. Exit codes: 0 started, 2 wrong input, 3 refused, 4 the service does not answer, 5 journal.
set -eu
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
export GRAYGATE_HOME="${GRAYGATE_HOME:-$root/var}"
exec "$root/.venv/bin/graygate" start 100pct "$@"
