#!/bin/sh
# Stop every process of the rollout, its service included. Nothing trades then.
# Arguments go to `graygate stop`. Exit codes: 0 stopped, 3 there is no rollout, 4 a process cannot be stopped.
set -eu
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
export GRAYGATE_HOME="${GRAYGATE_HOME:-$root/var}"
exec "$root/.venv/bin/graygate" stop "$@"
