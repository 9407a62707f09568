# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models as files that run without this package, with proof of equality."""

from .checking import Comparison, compare
from .formats import FORMATS, check_packages
from .graph import (
    ExportableRecognizer,
    GraphInput,
    inputs_of,
    trace,
)
from .metadata import describe

__all__ = [
    'FORMATS',
    'Comparison',
    'ExportableRecognizer',
    'GraphInput',
    'check_packages',
    'compare',
    'describe',
    'inputs_of',
    'trace',
]
