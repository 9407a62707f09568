# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
from .fusion_head import FusionHead
from .multi_label_head import MultiLabelHead
from .verb_noun_head import VerbNounHead

__all__ = ['FusionHead', 'MultiLabelHead', 'VerbNounHead']
