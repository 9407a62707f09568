# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Clips with picture and sound: dataset and transforms."""

from ca2st_mm.datasets import transforms
from ca2st_mm.datasets.audio_visual_dataset import AudioVisualDataset
from ca2st_mm.datasets.whole_step_sampler import WholeStepSampler

__all__ = ['AudioVisualDataset', 'WholeStepSampler', 'transforms']
