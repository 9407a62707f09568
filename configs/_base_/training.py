# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How the recipes train: AdamW, cosine schedule, loaders, hooks, environment.

Settings of the authors' CAST.  They trained in float16, without
gradient clipping and without averaged weights (add ``dict(type='EMAHook')``
to ``custom_hooks`` for these).
"""

custom_imports = dict(imports=['ca2st_mm'], allow_failed_imports=False)
default_scope = 'mmaction'
# bfloat16 where the hardware multiplies it, else float32 (docs/training.md).
precision = 'auto'

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='MultiExpertOptimConstructor',
    # The learning rate for an effective batch size of 256; LinearScalingHook
    # below scales it to the one in use (batch size x processes x accumulated
    # batches) and logs both.
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05
    ),
    paramwise_cfg=dict(
        layer_decay=0.75,
        # Besides vectors and biases, all position tables.  The authors' code
        # decays those over time of its audio links, which only CAVA and CA2ST
        # with position='learned_space_time' have (docs/training.md).
        not_decayed=(r'_table$', r'pos_embed$'),
    ),
)
max_epochs = 50
warmup_cosine = dict(
    type='WarmupCosineLR',
    warmup=5,
    end=max_epochs,
    min_ratio=1e-3,  # down to 1e-6, scaled like the learning rate
    by_epoch=True,
    convert_to_iter_based=True,  # a new learning rate in every iteration
)
param_scheduler = [warmup_cosine]
train_cfg = dict(
    type='EpochBasedTrainLoop',
    max_epochs=max_epochs,
    val_begin=1,
    val_interval=1,
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Data set and pipelines are set in the recipe.  One unreadable file among
# thousands does not end a run, but it is listed, and beyond this share of a
# set the run stops (docs/bad_files.md).
bad_samples = dict(
    max_bad_fraction=0.01, quarantine='work_dirs/bad_samples.csv'
)
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    # Workers live for an epoch and are seeded anew, so that a resumed run
    # draws the same clips as an uninterrupted one.
    persistent_workers=False,
    worker_init_fn=dict(type='seed_worker'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='AudioVisualDataset',
        ann_file='train.csv',
        # Batches keep their size; the replacement depends on the index of
        # the unreadable clip alone.
        on_error='substitute',
        **bad_samples,
    ),
)
# Published numbers are of the validation set where a benchmark has one: its
# test set has no public labels.
eval_dataset = dict(
    type='AudioVisualDataset',
    ann_file='val.csv',
    test_mode=True,
    on_error='skip',  # ReadableClips counts what is left
    **bad_samples,
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    worker_init_fn=dict(type='seed_worker'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=eval_dataset,
)
test_dataloader = dict(val_dataloader, batch_size=1)
val_evaluator = dict(type='ReadableClips', metric=dict(type='ClipAccMetric'))
test_evaluator = val_evaluator

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        save_best='acc/top1',
        max_keep_ckpts=3,
        backend_args=dict(backend='atomic'),  # no half-written checkpoint
    ),
    linear_scaling=dict(type='LinearScalingHook', base_batch_size=256),
    # --resume continues the random numbers, and validates an epoch that was
    # saved but not validated.
    random_state=dict(type='RandomStateHook'),
    # and follows this config's schedule, not one that a checkpoint has
    schedule=dict(type='ScheduleFromConfigHook'),
    missed_validation=dict(type='MissedValidationHook'),
    # A loss that is not finite changes no weight; the log says where it began.
    non_finite_loss=dict(type='NonFiniteLossHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # results.json next to the log of a test: what its numbers depend on.
    result_record=dict(type='ResultRecordHook'),
    # Where every process is when a run hangs; in less than the ten minutes
    # after which NCCL ends the run.  A process that hangs by itself is ended.
    stall_watch=dict(type='StallWatchHook', minutes=5, end_minutes=60),
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
# every process would mix clips in the same ratio and drop the same paths.
randomness = dict(seed=None, diff_rank_seed=True)
load_from = None
resume = False
