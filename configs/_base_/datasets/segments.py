# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Short clips: a frame from each of 16 equal segments, 4 s of audio.

The recipe adds the benchmark (folder, classes, annotation files, metric) and
chooses the pipelines: ``*_pipeline`` for video and audio, ``*_frames`` and a
packing step for video alone.

Annotation files are CSV with the columns ``file`` (relative to ``data_root``),
``label`` or ``verb`` and ``noun``, and where needed ``start``, ``end``
(seconds) and ``audio``; with ``start`` and ``end`` only that
part of the file is read.

Augmentation is that of the authors.  Their random erasing has probability 0
and their colour jitter no effect, so neither is here.
"""

open_video = dict(type='OpenVideo')
decode = dict(type='DecodeVideo')
frame_format = dict(type='FormatShape', input_format='NCTHW')
# timm's rand-m7-n4-mstd0.5-inc1, as the authors: four of 15 operations, each
# with probability 1/2, the same for all frames.
rand_augment = dict(
    type='RandAugmentFrames',
    num_ops=4,
    magnitude=7,
    magnitude_std=0.5,
    prob=0.5,
)
random_crop = [
    dict(
        type='RandomResizedCrop',
        area_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
    ),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
]
flip = dict(type='Flip', flip_ratio=0.5)
centre_crop = dict(type='ShortSideCrops', size=224, num_crops=1)
three_crops = dict(type='ShortSideCrops', size=224, num_crops=3)

# What is done with the frames that were chosen.
train_views = [decode, rand_augment, *random_crop, flip, frame_format]
val_views = [decode, centre_crop, frame_format]
test_views = [decode, three_crops, frame_format]

train_frames = [
    open_video,
    # Segments cover the clip; the authors' leave out up to 15 last frames
    # (rule='reference').
    dict(type='SegmentSample', clip_len=16, rule='even'),
    *train_views,
]
val_frames = [
    open_video,
    # The authors validate on random frames; here they are the centres of the
    # segments, so that the choice of the best checkpoint is not random.
    dict(type='UniformSample', clip_len=16, num_clips=1, test_mode=True),
    *val_views,
]
# Two clips, starts and centres of the segments, times three crops.
test_sample = dict(
    type='SegmentSample', clip_len=16, num_clips=2, test_mode=True
)
test_frames = [open_video, test_sample, *test_views]

# Seconds from the start of the clip, also where it is part of a long file.
frame_times = dict(type='FrameTimes', origin='clip')
# The authors extracted audio at 24 kHz; other rates are resampled, as mel
# bands depend on the rate.
load_audio = dict(type='LoadAudio', missing_audio='raise', sample_rate=24000)
# AST's log-mel spectrogram.  Training draws its window; each view of a test
# has its own.
spectrogram = dict(type='LogMelSpectrogram', num_frames=400)

train_audio = [
    frame_times,
    load_audio,
    dict(spectrogram, position='random'),
]
val_audio = [frame_times, load_audio, dict(spectrogram, position=0.5)]
test_audio = [frame_times, load_audio, dict(spectrogram, position='views')]

pack = dict(type='PackAudioVisual')
train_pipeline = [*train_frames, *train_audio, pack]
val_pipeline = [*val_frames, *val_audio, pack]
test_pipeline = [*test_frames, *test_audio, pack]

# For `*_as_released.py`: frames as the authors' code draws them, in the
# validation too, and times of 16 bits in training.
released_sample = dict(type='SegmentSample', clip_len=16, rule='reference')
released_train_frames = [open_video, released_sample, *train_views]
released_val_frames = [open_video, released_sample, *val_views]
released_train_pipeline = [
    *released_train_frames,
    *train_audio,
    dict(pack, half_times=True),
]
released_val_pipeline = [*released_val_frames, *val_audio, pack]
