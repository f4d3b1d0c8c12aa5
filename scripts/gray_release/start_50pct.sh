#!/bin/sh
# Go on with stage 50 %, once a person let stage 10 % pass.
# Arguments go to `graygate start 50pct`. Exit codes: 0 started, 2 wrong input, 3 refused, 4 the service does not answer, 5 journal.
set -eu
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
export GRAYGATE_HOME="${GRAYGATE_HOME:-$root/var}"
exec "$root/.venv/bin/graygate" start 50pct "$@"
