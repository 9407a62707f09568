# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checking a data set before a run: files, audio, labels, splits."""

from .probe import Limits, Probe, probe_all, probe_sample
from .report import Report, as_dict, as_html, as_text
from .samples import (
    KINDS,
    Fault,
    Sample,
    check_labels,
    check_repeats,
    read_samples,
)

__all__ = [
    'KINDS',
    'Fault',
    'Limits',
    'Probe',
    'Report',
    'Sample',
    'as_dict',
    'as_html',
    'as_text',
    'check_labels',
    'check_repeats',
    'probe_all',
    'probe_sample',
    'read_samples',
]
