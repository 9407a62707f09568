# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Shard weights, gradients and optimizer over the GPUs with PyTorch's FSDP.

Not run here: no machine with several GPUs has been tried.  Name this file in
``_base_`` next to a config and start with ``tools/dist_train.sh``.  Each
attention or feed-forward block is a unit; links stay with the rest, because
they may share their bottlenecks.
"""

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        auto_wrap_policy='wrap_blocks',
        # A unit has trained adapters and frozen weights, and the optimizer
        # tells parameters by their names.
        use_orig_params=True,
        mixed_precision=dict(
            param_dtype='bfloat16',
            reduce_dtype='bfloat16',
            buffer_dtype='float32',
        ),
    ),
    state_dict_cfg='full',
)
