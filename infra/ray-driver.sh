#!/bin/sh
# Run a command that uses the Ray cluster at ADDRESS: infra/ray-driver.sh ADDRESS COMMAND...
# A Ray driver talks to a node of its cluster on its own machine. Here this machine joins as a node without processors
# and GPUs, so that no replica runs on it. With an empty ADDRESS the command runs alone.
set -eu
address=$1
shift
if [ -n "$address" ]; then
    export RAY_ADDRESS="$address" RAY_USAGE_STATS_ENABLED=0
    ray start --address "$RAY_ADDRESS" --num-cpus 0 --num-gpus 0 --log-style record >&2
fi
exec "$@"
