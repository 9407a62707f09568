# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models as files that run without this package, with proof of equality."""

from .checking import Comparison, compare
from .formats import FORMATS, MissingPackageError, check_packages
from .metadata import describe
from .streams import ExportError, Stream, streams_of
from .wrapper import ExportableRecognizer, trace

__all__ = [
    'FORMATS',
    'Comparison',
    'ExportError',
    'ExportableRecognizer',
    'MissingPackageError',
    'Stream',
    'check_packages',
    'compare',
    'describe',
    'streams_of',
    'trace',
]
