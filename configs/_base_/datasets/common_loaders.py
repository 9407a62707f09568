# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Loaders of every benchmark; a benchmark adds folder, pipelines and metric.

Manifests are ``<data_root>/{train,val,test}.csv`` with the columns ``file``
(relative to ``data_root``), ``label`` or ``verb`` and ``noun``, and where
needed ``start``, ``end`` (seconds) and ``audio``.

One broken file among thousands does not end a run, but it is never hidden:
see ``docs/bad_files.md``.
"""

# Beyond this share of a set the run stops and says why; every bad sample is
# listed.
bad_samples = dict(
    max_bad_fraction=0.01, quarantine='work_dirs/bad_samples.csv'
)

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    # Workers live for an epoch and are seeded anew, so that a resumed run
    # draws the clips that an unbroken one draws.
    persistent_workers=False,
    worker_init_fn=dict(type='seed_worker'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='AudioVisualDataset',
        ann_file='train.csv',
        # Batches keep their size; which clip stands in depends on the bad
        # one's index alone.
        on_error='substitute',
        **bad_samples,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AudioVisualDataset',
        ann_file='val.csv',
        test_mode=True,
        # No substitute: ReadableClips counts the clips that are left.
        on_error='skip',
        **bad_samples,
    ),
)
# The numbers in papers are of the validation set where a benchmark has one:
# its test set has no public labels.
test_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AudioVisualDataset',
        ann_file='val.csv',
        test_mode=True,
        # No substitute: ReadableClips counts the clips that are left.
        on_error='skip',
        **bad_samples,
    ),
)
