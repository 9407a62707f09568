# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Clips with video and audio: dataset and transforms."""

from . import transforms
from .audio_visual_dataset import AudioVisualDataset
from .whole_step_sampler import WholeStepSampler

__all__ = ['AudioVisualDataset', 'WholeStepSampler', 'transforms']
