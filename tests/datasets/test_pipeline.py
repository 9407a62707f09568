# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Whole pipelines: what reaches the model, for any number of views."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.models.data_preprocessors import MultiStreamDataPreprocessor

PREPROCESSOR = dict(
    imgs=dict(
        type='ActionDataPreprocessor',
        format_shape='NCTHW',
        mean=[128.0] * 3,
        std=[64.0] * 3,
    ),
    audios=dict(
        type='ActionDataPreprocessor', mean=[-4.2677393], std=[9.1379948]
    ),
)


def pipeline(num_clips, crop, cut, missing='raise'):
    """The pipeline of a training (one clip) or test sample."""
    steps = [
        dict(type='OpenVideo'),
        dict(
            type='SegmentSample',
            clip_len=8,
            num_clips=num_clips,
            test_mode=num_clips > 1,
        ),
        dict(type='DecodeVideo'),
        dict(type='Resize', scale=(-1, 32)),
        dict(type=crop, crop_size=32),
        dict(type='FrameTimes'),
        dict(type='LoadAudio', missing_audio=missing, sample_rate=16000),
        dict(type='CropAudio', min_seconds=1.0) if cut else None,
        dict(type='LogMelSpectrogram', num_frames=250, num_mels=32),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackAudioVisual'),
    ]
    return [step for step in steps if step]


def dataset(tmp_path, rows, steps, columns='file,label'):
    path = tmp_path / 'list.csv'
    path.write_text('\n'.join([columns, *rows, '']))
    # Serialising collects garbage, which takes half a second here.
    kwargs = dict(num_classes=9, serialize_data=False)
    return AudioVisualDataset(str(path), steps, **kwargs)


def batch(samples, training):
    model = MultiStreamDataPreprocessor(PREPROCESSOR)
    return model(pseudo_collate(samples), training)


@pytest.mark.parametrize(
    ('num_clips', 'crop', 'views', 'cut'),
    [
        (1, 'CenterCrop', 1, True),
        (2, 'CenterCrop', 2, False),
        (2, 'ThreeCrop', 6, True),
    ],
)
def test_views_of_all_streams_agree(
    plain_clip, tmp_path, num_clips, crop, views, cut
):
    rows = [f'{plain_clip},1', f'{plain_clip},2']
    data = dataset(tmp_path, rows, pipeline(num_clips, crop, cut))
    out = batch([data[0], data[1]], training=num_clips == 1)
    imgs, audios = out['inputs']['imgs'], out['inputs']['audios']
    assert imgs.values.shape == (2, views, 3, 8, 32, 32)
    assert imgs.times.shape == (2, views, 8) and imgs.present is None
    assert audios.values.shape == (2, views, 1, 250, 32)
    assert audios.times.shape == (2, views, 2)
    assert audios.present.shape == (2, views)
    parts = [*imgs[:2], *audios]
    assert {part.dtype for part in parts} == {torch.float32}
    labels = [sample.gt_label.item() for sample in out['data_samples']]
    assert labels == [1, 2]
    assert all(sample.has_audio for sample in out['data_samples'])
    if cut:
        # the audio of a view surrounds its frames
        low, high = audios.times.unbind(-1)
        assert torch.all(low <= imgs.times.amin(-1) + 1e-3)
        assert torch.all(high >= imgs.times.amax(-1) - 1e-3)


def test_dropped_audio_is_batched_with_audio(
    plain_clip, silent_clip, tmp_path
):
    rows = [f'{plain_clip},1', f'{silent_clip},2']
    steps = pipeline(1, 'CenterCrop', True, 'drop')
    data = dataset(tmp_path, rows, steps)
    out = batch([data[0], data[1]], training=True)
    assert out['inputs']['audios'].present.tolist() == [[1.0], [0.0]]
    assert [s.has_audio for s in out['data_samples']] == [True, False]
    steps[-1] = dict(type='PackActionInputs')
    with pytest.raises(ValueError, match='end it with PackAudioVisual'):
        dataset(tmp_path, rows, steps)


def test_crops_after_the_cut_are_refused(plain_clip, tmp_path):
    steps = pipeline(2, 'ThreeCrop', True)
    steps.insert(7, steps.pop(4))
    steps[3] = dict(type='Resize', scale=(64, 32), keep_ratio=False)
    data = dataset(tmp_path, [f'{plain_clip},1'], steps)
    with pytest.raises(ValueError, match='after the crops'):
        data[0]


def test_audio_alone(plain_clip, tmp_path):
    steps = [
        dict(type='LoadAudio'),
        dict(type='LogMelSpectrogram', num_frames=100, num_mels=32),
        dict(type='PackActionInputs'),
    ]
    data = dataset(tmp_path, [f'{plain_clip},1'], steps)
    assert data[0]['inputs'].shape == (1, 1, 100, 32)


def test_an_untrimmed_file_with_audio_of_its_own(plain_clip, tmp_path):
    rows = [f'{plain_clip},{plain_clip},0.5,1.1,1']
    steps = pipeline(1, 'CenterCrop', False)
    data = dataset(tmp_path, rows, steps, 'file,audio,start,end,label')
    imgs, audios = (data[0]['inputs'][name] for name in ('imgs', 'audios'))
    assert 0.499 <= imgs.times.min() and imgs.times.max() < 1.1
    start, end = audios.times[0].tolist()
    assert start == pytest.approx(0.5, abs=1e-3)
    padded = audios.values[0, 0].abs().sum(-1) == 0
    heard = (end - start) * (1 - padded.float().mean().item())
    assert heard == pytest.approx(0.6, abs=0.02)
    assert np.isfinite(audios.values).all()
