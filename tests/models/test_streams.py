# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One object for each stream, from the pipeline to the backbone."""

import pytest
import tiny_models as tiny
import torch

from ca2st_mm.datasets.transforms import PackAudioVisual
from ca2st_mm.structures import Stream, as_streams

FLAT = dict(
    imgs=torch.zeros(2, 3),
    imgs_times=torch.ones(2, 8),
    audios=torch.zeros(2, 1),
    audios_present=torch.ones(2),
)


def test_flat_keys_and_streams_say_the_same():
    streams = as_streams(FLAT)
    assert list(streams) == ['imgs', 'audios']
    assert streams['imgs'].present is None and streams['audios'].times is None
    assert streams['imgs'].times is FLAT['imgs_times']
    assert streams['audios'].present is FLAT['audios_present']
    assert as_streams(streams) == streams


def test_times_without_their_stream_are_a_stream():
    assert list(as_streams(dict(flows_times=torch.ones(2)))) == ['flows_times']


def results(**more):
    found = {key: value.numpy() for key, value in FLAT.items()}
    return dict(found, label=1, filename='a.mp4', **more)


def test_packing_takes_what_the_steps_before_made():
    packed = PackAudioVisual()(results(clip_id='a'))
    imgs, audios = packed['inputs'].values()
    assert torch.equal(imgs.times, FLAT['imgs_times'])
    assert torch.equal(audios.present, FLAT['audios_present'])
    assert imgs.present is None and audios.times is None
    sample = packed['data_samples']
    assert sample.gt_label.item() == 1 and sample.clip_id == 'a'
    assert list(PackAudioVisual(['imgs'])(results())['inputs']) == ['imgs']


def test_a_stream_that_no_step_made_is_named():
    without = results()
    del without['audios']
    with pytest.raises(KeyError, match=r"\['audios'\].*LogMelSpectrogram"):
        PackAudioVisual()(without)


def test_a_backbone_takes_both_forms():
    model = tiny.noisy(tiny.TIMED)
    present = torch.tensor([1.0, 0.0, 1.0])
    inputs = {**tiny.streams(), **tiny.times(), 'audios_present': present}
    streams = as_streams(inputs)
    assert all(isinstance(stream, Stream) for stream in streams.values())
    tiny.assert_same(model(**streams), model(**inputs), atol=0, rtol=0)
