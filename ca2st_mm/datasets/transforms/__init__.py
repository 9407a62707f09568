# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Transforms that keep video and audio on one clock."""

from .audio_augment import (
    AddAudioNoise,
    AddPeakedNoise,
    AddPinkNoise,
    MaskSpectrogram,
    MuteAudio,
    RollAudio,
)
from .audio_loading import CropAudio, LoadAudio
from .corruptions import CAUSES, Corrupt, Desynchronise
from .formatting import PackAudioVisual
from .frame_sampling import (
    DenseSample,
    OpenShareOfVideo,
    SegmentSample,
    ShortSideCrops,
)
from .rand_augment import RandAugmentFrames
from .spectrogram import (
    AudioWaveform,
    BEATsSpectrogram,
    LibrosaLogMelSpectrogram,
    LogMelSpectrogram,
    WhisperSpectrogram,
)
from .video_loading import (
    DecodeVideo,
    FrameTimes,
    OpenVideo,
)

__all__ = [
    'AudioWaveform',
    'WhisperSpectrogram',
    'AddAudioNoise',
    'AddPeakedNoise',
    'AddPinkNoise',
    'BEATsSpectrogram',
    'CAUSES',
    'Corrupt',
    'CropAudio',
    'DecodeVideo',
    'DenseSample',
    'Desynchronise',
    'FrameTimes',
    'LibrosaLogMelSpectrogram',
    'LoadAudio',
    'LogMelSpectrogram',
    'MaskSpectrogram',
    'MuteAudio',
    'OpenShareOfVideo',
    'OpenVideo',
    'PackAudioVisual',
    'RandAugmentFrames',
    'RollAudio',
    'SegmentSample',
    'ShortSideCrops',
]
