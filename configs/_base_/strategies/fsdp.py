# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Shard what is trained over the GPUs with PyTorch's FSDP.

Name this file in ``_base_`` next to a recipe and start with
``tools/dist_train.sh``.  Frozen weights stay whole on every GPU; what is
trained is sharded, with the recipes in one unit, as their trained parts are
small (adapters, links, head), and in a unit for each block where whole blocks
of more than a million parameters are trained.  Precision is that of other
runs, autocast, not FSDP's own, which would leave frozen weights in another
type.

Run here on two processes of a CPU, not on several GPUs.
"""

runner_type = 'FlexibleRunner'
strategy = dict(
    type='MultiExpertFSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        auto_wrap_policy='wrap_blocks',
        # The optimizer tells parameters by their names.
        use_orig_params=True,
    ),
)
