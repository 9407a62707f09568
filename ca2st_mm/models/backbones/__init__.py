# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
from . import hf_speech  # noqa: F401 - adds its families
from .ast import ASTExpert
from .beats import BEATsExpert
from .clip import CLIPExpert
from .expert import Expert, TransformerExpert
from .foreign import Family, ForeignExpert, expert_config
from .hf_expert import HFExpert
from .multi_expert import MultiExpertBackbone
from .timm_expert import TimmExpert
from .videomae import VideoMAEExpert
from .wrapped_vit import MMActionViTExpert, MMPretrainViTExpert

__all__ = [
    'ASTExpert',
    'BEATsExpert',
    'CLIPExpert',
    'Expert',
    'Family',
    'ForeignExpert',
    'HFExpert',
    'MMActionViTExpert',
    'MMPretrainViTExpert',
    'MultiExpertBackbone',
    'TimmExpert',
    'TransformerExpert',
    'VideoMAEExpert',
    'expert_config',
]
