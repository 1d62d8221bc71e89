#!/bin/sh
# Train a listwise ranker in several processes, on one machine or many:
#   recipes/launch/torchrun.sh recipes/nexus_qwen3_vl_2b.toml
#   NODES=2 RANK_OF_NODE=0 FIRST_NODE=10.0.0.1:29500 recipes/launch/torchrun.sh RECIPE   # the same on each, its own rank
# PROCESSES a machine: default, one a GPU, or 1 where there is none. Folders of the recipe must be shared by all machines.
# SHARD=1: the processes share the layers of the student, each keeps a part (docs/guides/distributed.md).
set -eu
recipe=${1:?which recipe (.toml)}
shift
count=${PROCESSES:-gpu}
if [ "$count" = gpu ] && ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    count=1
fi
if [ "${SHARD:-0}" = 1 ]; then
    export ACCELERATE_USE_FSDP=true
fi
if [ "${NODES:-1}" = 1 ]; then
    exec torchrun --standalone --nproc_per_node "$count" -m wholepage train nexus "$recipe" "$@"
fi
exec torchrun --nnodes "$NODES" --node_rank "${RANK_OF_NODE:?from 0}" \
    --rdzv_backend c10d --rdzv_id "${RUN_ID:-wholepage}" --rdzv_endpoint "${FIRST_NODE:?host:port of the first}" \
    --nproc_per_node "$count" -m wholepage train nexus "$recipe" "$@"
