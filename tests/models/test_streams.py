# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One object for each stream, from the pipeline to the backbone."""

import pytest
import torch

from ca2st_mm.datasets.transforms import PackAudioVisual
from ca2st_mm.structures import as_streams

RESULTS = dict(
    imgs=torch.zeros(2, 3),
    imgs_times=torch.ones(2, 8),
    audios=torch.zeros(2, 1),
    audios_present=torch.ones(2),
)


def results(**more):
    found = {key: value.numpy() for key, value in RESULTS.items()}
    return dict(found, label=1, filename='a.mp4', **more)


def test_packing_takes_what_the_steps_before_made():
    packed = PackAudioVisual()(results(clip_id='a'))
    imgs, audios = packed['inputs'].values()
    assert torch.equal(imgs.times, RESULTS['imgs_times'])
    assert torch.equal(audios.present, RESULTS['audios_present'])
    assert imgs.present is None and audios.times is None
    sample = packed['data_samples']
    assert sample.gt_label.item() == 1 and sample.clip_id == 'a'
    assert list(PackAudioVisual(['imgs'])(results())['inputs']) == ['imgs']


def test_a_stream_that_no_step_made_is_named():
    without = results()
    del without['audios']
    with pytest.raises(KeyError, match=r"\['audios'\].*LogMelSpectrogram"):
        PackAudioVisual()(without)


def test_parts_of_a_stream_are_no_streams():
    with pytest.raises(ValueError, match=r"\['imgs_times'\] are parts"):
        as_streams(dict(imgs=torch.ones(2), imgs_times=torch.ones(2)))
