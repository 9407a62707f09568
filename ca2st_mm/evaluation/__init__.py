# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Metrics."""

from ca2st_mm.evaluation.audio_visual_metric import AudioVisualAccMetric
from ca2st_mm.evaluation.readable_clips import ReadableClips
from ca2st_mm.evaluation.verb_noun_metric import VerbNounMetric

__all__ = ['AudioVisualAccMetric', 'ReadableClips', 'VerbNounMetric']
