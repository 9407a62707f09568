# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checking a data set before a run: files, sound, labels, splits."""

from .page import as_html
from .probe import Limits, Probe, probe_sample
from .report import Report, as_dict, as_text
from .run import probe_all
from .samples import (
    KINDS,
    Fault,
    Sample,
    check_duplicates,
    check_labels,
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
    'check_duplicates',
    'check_labels',
    'probe_all',
    'probe_sample',
    'read_samples',
]
