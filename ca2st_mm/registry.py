# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Where our components register: MMAction2's own registries.

Nothing of ours has a scope of its own, so a config needs no prefix:
``dict(type='CLIPExpert')`` works in any MMAction2 config after
``custom_imports = dict(imports=['ca2st_mm'])``.
"""

from mmaction.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
)

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'HOOKS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'TRANSFORMS',
]
