#!/usr/bin/env bash
# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
# Test on the GPUs of one or several machines.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [FLAGS...]" >&2
    exit 2
fi
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
inputs=("$1" "$2")
gpus=$3
shift 3

"${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    --nproc-per-node="$gpus" \
    "$here/test.py" "${inputs[@]}" --launcher pytorch "$@"
