# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Metrics."""

from .clip_metrics import (
    AudioVisualAccMetric,
    ClipAccMetric,
    ReadableClips,
    SoundEventMetric,
)
from .submission import (
    EpicKitchensSubmission,
    EpicSoundsSubmission,
)
from .verb_noun import EpicKitchensMetric, VerbNounMetric

__all__ = [
    'AudioVisualAccMetric',
    'ClipAccMetric',
    'EpicKitchensMetric',
    'EpicKitchensSubmission',
    'EpicSoundsSubmission',
    'ReadableClips',
    'SoundEventMetric',
    'VerbNounMetric',
]
