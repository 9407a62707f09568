# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Normalise first, blend second, and only while training."""

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

PARTS = dict(
    imgs=dict(
        type='ActionDataPreprocessor',
        format_shape='NCTHW',
        mean=[10.0] * 3,
        std=[2.0] * 3,
    ),
    audios=dict(type='ActionDataPreprocessor', mean=[-4.0], std=[9.0]),
)
HEADS = {
    4: dict(type='FusionHead', num_classes=4),
    7: dict(
        type='VerbNounHead',
        num_verbs=3,
        num_nouns=4,
        fusions=dict(
            verb=dict(in_channels=dict(spatial=tiny.DIMS)), noun='verb'
        ),
    ),
}
BLENDING = dict(type='MultiStreamBlending', num_classes=4)


def batch(size=2):
    torch.manual_seed(0)
    return dict(
        inputs=dict(
            imgs=[torch.randint(256, (1, 3, 2, 8, 8)) for _ in range(size)],
            audios=[torch.randn(1, 1, 6, 5) for _ in range(size)],
        ),
        data_samples=[
            ActionDataSample().set_gt_label(label) for label in range(size)
        ],
    )


def build(blending=None, **parts):
    return MODELS.build(
        dict(
            type='MultiStreamDataPreprocessor',
            preprocessors=dict(PARTS, **parts),
            blending=blending,
        )
    )


def test_evaluation_is_untouched():
    plain = build()(batch(), training=False)
    for blending in (None, BLENDING):
        out = build(blending)(batch(), training=False)
        for key, stream in plain['inputs'].items():
            assert torch.equal(out['inputs'][key], stream)
        labels = [sample.gt_label.item() for sample in out['data_samples']]
        assert labels == [0, 1]


def test_training_blends_normalised_streams():
    plain = build()(batch(), training=True)['inputs']
    out = build(BLENDING)(batch(), training=True)
    lam = out['data_samples'][0].gt_label[0].item()
    assert 0 < lam < 1
    for key, stream in plain.items():
        expected = lam * stream + (1 - lam) * stream.flip(0)
        torch.testing.assert_close(out['inputs'][key], expected)


def test_a_stream_that_blends_alone_is_refused():
    alone = dict(
        PARTS['imgs'], blending=dict(type='MixupBlending', num_classes=4)
    )
    with pytest.raises(ValueError, match=r"\['imgs'\] blend by themselves"):
        build(BLENDING, imgs=alone)


def recognizer(head, **blending):
    head = dict(head)
    if head['type'] == 'FusionHead':
        head['in_channels'] = dict(spatial=tiny.DIMS, temporal=tiny.DIMS)
    return tiny.build(
        dict(
            type='MultiExpertRecognizer',
            backbone=tiny.CAST,
            cls_head=head,
            data_preprocessor=dict(
                type='MultiStreamDataPreprocessor',
                preprocessors=PARTS,
                blending=dict(type='MultiStreamBlending', **blending),
            ),
        )
    )


@pytest.mark.parametrize('length', HEADS)
def test_the_head_says_how_many_classes(length):
    model = recognizer(HEADS[length])
    data = batch()
    if length == 7:
        for sample in data['data_samples']:
            sample.set_gt_label(torch.tensor([1, 3]))
    out = model.data_preprocessor(data, training=True)
    assert out['data_samples'][0].gt_label.shape == (length,)


def test_other_classes_than_the_head_are_refused():
    with pytest.raises(ValueError, match=r"'label': 5.*'label': 4"):
        recognizer(HEADS[4], num_classes=5)


def test_nobody_says_how_many_classes():
    model = build(dict(type='MultiStreamBlending'))
    with pytest.raises(ValueError, match='MultiExpertRecognizer'):
        model(batch(), training=True)
