# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Normalise first, blend second, and only while training."""

import pytest
import tiny_models as tiny
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

from ca2st_mm.structures import Stream

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
    4: dict(
        type='FusionHead', num_classes=4, in_channels=dict(spatial=tiny.DIMS)
    ),
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
            assert torch.equal(out['inputs'][key].values, stream.values)
        labels = [sample.gt_label.item() for sample in out['data_samples']]
        assert labels == [0, 1]


def test_training_blends_normalised_streams():
    plain = build()(batch(), training=True)['inputs']
    out = build(BLENDING)(batch(), training=True)
    lam = out['data_samples'][0].gt_label[0].item()
    assert 0 < lam < 1
    for key, stream in plain.items():
        expected = lam * stream.values + (1 - lam) * stream.values.flip(0)
        torch.testing.assert_close(out['inputs'][key].values, expected)


def timed_batch():
    data = batch()
    for name, length in (('imgs', 2), ('audios', 2)):
        times = [torch.full((1, length), 3), torch.full((1, length), 4)]
        data['inputs'][name] = Stream(
            data['inputs'][name], times, [torch.ones(1), torch.zeros(1)]
        )
    return data


def test_times_and_presence_are_stacked_not_normalised():
    plain = build()(batch())['inputs']
    for name, stream in build()(timed_batch())['inputs'].items():
        assert torch.equal(stream.values, plain[name].values)
        assert stream.times.tolist() == [[[3, 3]], [[4, 4]]]
        assert stream.times.dtype == torch.float32
        assert stream.present.tolist() == [[1], [0]]


def test_batches_that_do_not_fit_are_refused():
    data = batch()
    values = data['inputs']['imgs']
    data['inputs']['imgs'] = Stream(values, [torch.ones(1, 2), None])
    with pytest.raises(ValueError, match='times of imgs'):
        build()(data)
    data = batch()
    data['inputs']['flows'] = data['inputs']['imgs']
    with pytest.raises(KeyError, match="'flows'.*'audios'"):
        build()(data)


def test_a_stream_that_blends_alone_is_refused():
    alone = dict(
        PARTS['imgs'], blending=dict(type='MixupBlending', num_classes=4)
    )
    with pytest.raises(ValueError, match=r"\['imgs'\] blend by themselves"):
        build(BLENDING, imgs=alone)


def recognizer(head, **blending):
    preprocessor = dict(
        type='MultiStreamDataPreprocessor',
        preprocessors=PARTS,
        blending=dict(type='MultiStreamBlending', **blending),
    )
    return tiny.recognizer(tiny.CAST, head, data_preprocessor=preprocessor)


@pytest.mark.parametrize('length', HEADS)
def test_the_head_says_how_many_classes(length):
    model = recognizer(HEADS[length])
    data = batch()
    if length == 7:
        for sample in data['data_samples']:
            sample.set_gt_label(torch.tensor([1, 3]))
    out = model.data_preprocessor(data, training=True)
    assert out['data_samples'][0].gt_label.shape == (length,)


def test_classes_must_be_known_and_those_of_the_head():
    with pytest.raises(ValueError, match=r"'label': 5.*'label': 4"):
        recognizer(HEADS[4], num_classes=5)
    model = build(dict(type='MultiStreamBlending'))
    with pytest.raises(ValueError, match='MultiExpertRecognizer'):
        model(batch(), training=True)
