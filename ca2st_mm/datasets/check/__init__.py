# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checking a data set before a run: files, audio, labels, splits.

``samples`` reads manifests and looks at them as sets, ``probe`` looks into
the files, ``report`` and ``page`` say what was found.
"""

from .page import as_html
from .probe import Limits, Probe, probe_all, probe_sample
from .report import Report, as_dict, as_text
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
