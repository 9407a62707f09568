# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
from .ast import ASTExpert
from .clip import CLIPExpert
from .expert import Expert, TransformerExpert
from .multi_expert import MultiExpertBackbone
from .videomae import VideoMAEExpert
from .wrapped_vit import MMActionViTExpert, MMPretrainViTExpert

__all__ = [
    'ASTExpert',
    'CLIPExpert',
    'Expert',
    'MMActionViTExpert',
    'MMPretrainViTExpert',
    'MultiExpertBackbone',
    'TransformerExpert',
    'VideoMAEExpert',
]
