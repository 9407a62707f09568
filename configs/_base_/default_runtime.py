# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What every run shares: hooks, logging, environment."""

custom_imports = dict(imports=['ca2st_mm'], allow_failed_imports=False)
default_scope = 'mmaction'

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        save_best='auto',
        max_keep_ckpts=3,
        backend_args=dict(backend='atomic'),  # no half-written checkpoint
    ),
    random_state=dict(type='RandomStateHook'),  # --resume draws on
    missed_validation=dict(type='MissedValidationHook'),  # and validates
    # NaN moves no weight; a report says where it begins
    non_finite_loss=dict(type='NonFiniteLossHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # results.json beside the log of a test: what its numbers depend on
    result_record=dict(type='ResultRecordHook'),
    # rank, stage and stack of what does not go on; in less than the ten
    # minutes after which NCCL ends the run
    stall_watch=dict(type='StallWatchHook', minutes=5),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
vis_backends = [
    dict(type='LocalVisBackend'),
    dict(type='TensorboardVisBackend'),
]
visualizer = dict(type='ActionVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
# Rank r draws from seed + r, as in the authors' code; with one seed for all,
# every process would mix with the same share and drop the same paths.
randomness = dict(seed=None, diff_rank_seed=True)
load_from = None
resume = False
