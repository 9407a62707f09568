#!/usr/bin/env bash
# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
# Train on the GPUs of one or several machines.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [FLAGS...]" >&2
    exit 2
fi
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
inputs=("$1")
gpus=$2
shift 2

# torchrun passes these on, so that training ends after its step, saved.
export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1
"${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    --nproc-per-node="$gpus" \
    "$here/train.py" "${inputs[@]}" --launcher pytorch "$@"
