# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Metrics."""

from .audio_visual_metric import (
    AudioVisualAccMetric,
    SoundEventMetric,
)
from .clip_acc_metric import ClipAccMetric
from .epic_kitchens_metric import EpicKitchensMetric
from .readable_clips import ReadableClips
from .submission import (
    EpicKitchensSubmission,
    EpicSoundsSubmission,
)
from .verb_noun_metric import VerbNounMetric

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
