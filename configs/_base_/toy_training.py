# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How the toy models train: AdamW, warm-up and cosine, 12 short epochs."""

custom_imports = dict(imports=['ca2st_mm'], allow_failed_imports=False)
default_scope = 'mmaction'

max_epochs = 12
warmup_epochs = 2
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.02),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.1,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        begin=warmup_epochs,
        end=max_epochs,
        eta_min=1e-5,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(
    type='EpochBasedTrainLoop',
    max_epochs=max_epochs,
    val_begin=max_epochs,
    val_interval=4,
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Hooks and environment of training.py.
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
    random_state=dict(type='RandomStateHook'),
    schedule=dict(type='ScheduleFromConfigHook'),
    missed_validation=dict(type='MissedValidationHook'),
    non_finite_loss=dict(type='NonFiniteLossHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    result_record=dict(type='ResultRecordHook'),
    stall_watch=dict(type='StallWatchHook', minutes=5, end_minutes=60),
)
# Of an expert one file is kept: the weights that other models start from.
expert_checkpoint = dict(
    filename_tmpl='expert.pth',
    interval=1000,
    save_last=True,
    save_best=None,
    save_optimizer=False,
    max_keep_ckpts=-1,
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
# The seed decides the order of clips; with a seed for each process, MMEngine
# would shuffle by another one than the README's numbers were measured with.
randomness = dict(seed=None, diff_rank_seed=False)
load_from = None
resume = False
