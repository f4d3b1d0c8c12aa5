#!/bin/sh
# Put the baseline back now. Needs neither Prefect nor a guardian nor a network.
# Arguments go to `graygate rollback`. Exit codes: 0 done, 2 wrong input, 3 refused, 4 the service did not obey and was stopped, 5 done without a journal.
set -eu
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
export GRAYGATE_HOME="${GRAYGATE_HOME:-$root/var}"
exec "$root/.venv/bin/graygate" rollback "$@"
