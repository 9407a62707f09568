# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Metrics."""

from ca2st_mm.evaluation.audio_visual_metric import (
    AudioVisualAccMetric,
    SoundEventMetric,
)
from ca2st_mm.evaluation.clip_acc_metric import ClipAccMetric
from ca2st_mm.evaluation.epic_kitchens_metric import EpicKitchensMetric
from ca2st_mm.evaluation.submission import (
    EpicKitchensSubmission,
    EpicSoundsSubmission,
)
from ca2st_mm.evaluation.verb_noun_metric import VerbNounMetric

__all__ = [
    'AudioVisualAccMetric',
    'ClipAccMetric',
    'EpicKitchensMetric',
    'EpicKitchensSubmission',
    'EpicSoundsSubmission',
    'SoundEventMetric',
    'VerbNounMetric',
]
