# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
from .blending import MultiStreamBlending, ReferenceMultiStreamBlending
from .multi_stream import MultiStreamDataPreprocessor

__all__ = [
    'MultiStreamBlending',
    'MultiStreamDataPreprocessor',
    'ReferenceMultiStreamBlending',
]
