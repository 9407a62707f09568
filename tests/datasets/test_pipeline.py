# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Whole pipelines: what reaches the model, for any number of views."""

import numpy as np
import pytest
import torch
from mmaction.models.data_preprocessors import (
    MultiModalDataPreprocessor,
)
from mmengine.dataset import pseudo_collate

from ca2st_mm.datasets import AudioVisualDataset

PACK = dict(
    type='PackActionInputs',
    collect_keys=(
        'imgs',
        'audios',
        'imgs_times',
        'audios_times',
        'audios_present',
    ),
    meta_keys=('img_shape', 'filename', 'has_audio'),
)
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
    imgs_times=dict(type='ActionDataPreprocessor'),
    audios_times=dict(type='ActionDataPreprocessor'),
    audios_present=dict(type='ActionDataPreprocessor'),
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
        PACK,
    ]
    return [step for step in steps if step]


def dataset(tmp_path, text, steps):
    path = tmp_path / 'list.csv'
    path.write_text(text)
    # Serialising collects garbage, which takes half a second here.
    kwargs = dict(num_classes=9, serialize_data=False)
    return AudioVisualDataset(str(path), steps, **kwargs)


def batch(samples, training):
    model = MultiModalDataPreprocessor(PREPROCESSOR)
    return model(pseudo_collate(samples), training)


@pytest.mark.parametrize(
    ('num_clips', 'crop', 'views', 'cut'),
    [
        (1, 'CenterCrop', 1, True),
        (2, 'CenterCrop', 2, False),
        (2, 'ThreeCrop', 6, True),
    ],
)
def test_views_of_all_inputs_agree(
    plain_clip, tmp_path, num_clips, crop, views, cut
):
    data = dataset(
        tmp_path,
        f'file,label\n{plain_clip},1\n{plain_clip},2\n',
        pipeline(num_clips, crop, cut),
    )
    out = batch([data[0], data[1]], training=num_clips == 1)
    shapes = {k: tuple(v.shape) for k, v in out['inputs'].items()}
    assert shapes == dict(
        imgs=(2, views, 3, 8, 32, 32),
        audios=(2, views, 1, 250, 32),
        imgs_times=(2, views, 8),
        audios_times=(2, views, 2),
        audios_present=(2, views),
    )
    assert {v.dtype for v in out['inputs'].values()} == {torch.float32}
    labels = [sample.gt_label.item() for sample in out['data_samples']]
    assert labels == [1, 2]
    assert all(sample.has_audio for sample in out['data_samples'])
    if cut:
        # the audio of a view surrounds its frames
        times, audio = (
            out['inputs']['imgs_times'],
            out['inputs']['audios_times'],
        )
        assert torch.all(audio[..., 0] <= times.amin(-1) + 1e-3)
        assert torch.all(audio[..., 1] >= times.amax(-1) - 1e-3)


def test_dropped_audio_is_batched_with_audio(
    plain_clip, silent_clip, tmp_path
):
    data = dataset(
        tmp_path,
        f'file,label\n{plain_clip},1\n{silent_clip},2\n',
        pipeline(1, 'CenterCrop', True, 'drop'),
    )
    out = batch([data[0], data[1]], training=True)
    assert out['inputs']['audios_present'].tolist() == [[1.0], [0.0]]
    assert [s.has_audio for s in out['data_samples']] == [True, False]


def test_crops_after_the_cut_are_refused(plain_clip, tmp_path):
    steps = pipeline(2, 'ThreeCrop', True)
    crop = next(s for s in steps if s['type'] == 'ThreeCrop')
    steps.remove(crop)
    cut = next(i for i, s in enumerate(steps) if s['type'] == 'CropAudio')
    steps.insert(cut + 1, crop)
    steps[3] = dict(type='Resize', scale=(64, 32), keep_ratio=False)
    data = dataset(tmp_path, f'file,label\n{plain_clip},1\n', steps)
    with pytest.raises(ValueError, match='after the crops'):
        data[0]


def test_audio_alone(plain_clip, tmp_path):
    steps = [
        dict(type='LoadAudio'),
        dict(type='LogMelSpectrogram', num_frames=100, num_mels=32),
        dict(type='PackActionInputs'),
    ]
    data = dataset(tmp_path, f'file,label\n{plain_clip},1\n', steps)
    assert data[0]['inputs'].shape == (1, 1, 100, 32)


def test_an_untrimmed_file_with_audio_of_its_own(plain_clip, tmp_path):
    text = f'file,audio,start,end,label\n{plain_clip},{plain_clip},0.5,1.1,1\n'
    sample = dataset(tmp_path, text, pipeline(1, 'CenterCrop', False))[0]
    times = sample['inputs']['imgs_times']
    assert 0.499 <= times.min() and times.max() < 1.1
    start, end = sample['inputs']['audios_times'][0].tolist()
    assert start == pytest.approx(0.5, abs=1e-3)
    padded = sample['inputs']['audios'][0, 0].abs().sum(-1) == 0
    heard = (end - start) * (1 - padded.float().mean().item())
    assert heard == pytest.approx(0.6, abs=0.02)
    assert np.isfinite(sample['inputs']['audios']).all()
