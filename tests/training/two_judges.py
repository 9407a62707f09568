# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What one process or several measure of a few answers, without a model."""

import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DATA_SAMPLERS

CLIPS, BATCH, VERBS, NOUNS = 5, 2, 4, 3
UNREADABLE = (0, 3)  # 0 is the one that two processes judge twice
METRICS = dict(
    clips=dict(type='ClipAccMetric', topk=(1, 2)),
    sounds=dict(type='SoundEventMetric', topk=(1, 2)),
    kitchens=dict(
        type='EpicKitchensMetric',
        topk=(1, 2),
        unseen_participants=['P02'],
        tail_verbs=[1, 2],
        tail_nouns=[2],
    ),
)


def predictions(unreadable):
    """One answer a clip, for one label and for a verb and a noun."""
    source = torch.Generator().manual_seed(4)
    scores = {
        name: torch.rand(CLIPS, size, generator=source).softmax(dim=1)
        for name, size in dict(score=VERBS, verb=VERBS, noun=NOUNS).items()
    }
    return [
        dict(
            pred_score=scores['score'][i],
            pred_verb_score=scores['verb'][i],
            pred_noun_score=scores['noun'][i],
            filename=f'P0{1 + i % 2}_{i}.mp4',
            has_audio=i % 2 == 0,
            unreadable=i == unreadable,
            label=torch.tensor([i % VERBS]),
            labels=torch.tensor([i % VERBS, i % NOUNS]),
        )
        for i in range(CLIPS)
    ]


def judge(name, unreadable):
    """The numbers of a metric on this process's clips and all others'."""
    clips = predictions(unreadable)
    label = 'labels' if name == 'kitchens' else 'label'
    clips = [dict(clip, gt_label=clip[label]) for clip in clips]
    evaluator = Evaluator([dict(type='ReadableClips', metric=METRICS[name])])
    sampler = DATA_SAMPLERS.build(
        dict(type='DefaultSampler', dataset=clips, shuffle=False)
    )
    mine = list(sampler)
    for start in range(0, len(mine), BATCH):
        batch = [clips[i] for i in mine[start : start + BATCH]]
        evaluator.process(batch)
    return evaluator.evaluate(CLIPS)


def judge_all():
    """The numbers of all metrics, whichever clip cannot be read."""
    return {
        f'{name}-{unreadable}': judge(name, unreadable)
        for name in METRICS
        for unreadable in UNREADABLE
    }
