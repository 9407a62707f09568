# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
from . import backbones, heads, necks, recognizers

__all__ = ['backbones', 'heads', 'necks', 'recognizers']
