#!/usr/bin/env bash
# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
# Train on a Slurm cluster; GPUS, GPUS_PER_NODE, CPUS_PER_TASK and
# SRUN_ARGS in the environment set the size of the job.  In a batch script, ask
# for "#SBATCH --signal=USR1@120" and "#SBATCH --requeue".
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [FLAGS...]" >&2
    exit 2
fi
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
partition=$1
job_name=$2
shift 2
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
# A job smaller than a node must not ask for a whole one.
per_node=$((per_node < gpus ? per_node : gpus))
read -r -a srun_args <<<"${SRUN_ARGS:-}"
export MASTER_PORT=${MASTER_PORT:-$((12000 + RANDOM % 20000))}

# Slurm has started the job again, after a time limit or a lost machine.
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    set -- "$@" --resume
fi

status=0
srun --partition="$partition" \
    --job-name="$job_name" \
    --gres="gpu:$per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    --signal=USR1@120 \
    ${srun_args[@]+"${srun_args[@]}"} \
    "${PYTHON:-python}" -u "$here/train.py" "$@" --launcher slurm || status=$?

# 128 + USR1: training has stopped ahead of the time limit, saved.  Within
# sbatch the job goes on where it stopped, when its turn comes again.
if [ "$status" -eq 138 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
