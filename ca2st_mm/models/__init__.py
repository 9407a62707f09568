# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
from . import backbones, data_preprocessors, heads, necks, recognizers

__all__ = [
    'backbones',
    'data_preprocessors',
    'heads',
    'necks',
    'recognizers',
]
