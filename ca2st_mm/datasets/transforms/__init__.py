# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Transforms that keep sound and picture on one clock."""

from ca2st_mm.datasets.transforms.audio_augment import (
    AddAudioNoise,
    MaskSpectrogram,
    MuteAudio,
    RollAudio,
)
from ca2st_mm.datasets.transforms.audio_loading import CropAudio, LoadAudio
from ca2st_mm.datasets.transforms.frame_sampling import (
    DenseSample,
    SegmentSample,
)
from ca2st_mm.datasets.transforms.rand_augment import RandAugmentFrames
from ca2st_mm.datasets.transforms.spectrogram import (
    LibrosaLogMelSpectrogram,
    LogMelSpectrogram,
)
from ca2st_mm.datasets.transforms.video_loading import (
    DecodeVideo,
    FrameTimes,
    OpenVideo,
)

__all__ = [
    'AddAudioNoise',
    'CropAudio',
    'DecodeVideo',
    'DenseSample',
    'FrameTimes',
    'LibrosaLogMelSpectrogram',
    'LoadAudio',
    'LogMelSpectrogram',
    'MaskSpectrogram',
    'MuteAudio',
    'OpenVideo',
    'RandAugmentFrames',
    'RollAudio',
    'SegmentSample',
]
