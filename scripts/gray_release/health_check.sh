#!/bin/sh
# Service, progress, exposure, lease, latch, guardian, journal: one line each.
# Arguments go to `graygate health`. Exit codes: 0 healthy, 3 there is no rollout, 4 not healthy.
set -eu
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
export GRAYGATE_HOME="${GRAYGATE_HOME:-$root/var}"
exec "$root/.venv/bin/graygate" health "$@"
