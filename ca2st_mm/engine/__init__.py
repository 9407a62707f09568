# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Training: optimizers, learning rates, checkpoints, checks before a run."""

from ca2st_mm.utils.errors import UsageError

from .checkpointing import (
    AtomicLocalBackend,
    DeltaCheckpointHook,
    StrictLoadingHook,
    last_whole_checkpoint,
)
from .fsdp import MultiExpertFSDPStrategy, wrap_blocks
from .learning_rate import (
    LinearScalingHook,
    ScheduleFromConfigHook,
    WarmupCosineLR,
)
from .non_finite_loss import (
    NonFiniteLossError,
    NonFiniteLossHook,
)
from .optimizers import (
    MultiExpertOptimConstructor,
)
from .precision import BFloat16OptimWrapper
from .preflight import (
    MissingFileError,
    check_classes,
    check_files,
)
from .result_record import ResultRecordHook
from .resuming import (
    EpochBasedTrainLoop,
    MissedValidationHook,
    RandomStateHook,
    seed_worker,
)
from .stall_watch import StallWatchHook
from .visualization_hook import VisualizationHook

__all__ = [
    'AtomicLocalBackend',
    'BFloat16OptimWrapper',
    'DeltaCheckpointHook',
    'EpochBasedTrainLoop',
    'LinearScalingHook',
    'MissingFileError',
    'MissedValidationHook',
    'MultiExpertFSDPStrategy',
    'MultiExpertOptimConstructor',
    'NonFiniteLossError',
    'NonFiniteLossHook',
    'RandomStateHook',
    'ResultRecordHook',
    'ScheduleFromConfigHook',
    'StallWatchHook',
    'StrictLoadingHook',
    'UsageError',
    'VisualizationHook',
    'WarmupCosineLR',
    'check_classes',
    'check_files',
    'last_whole_checkpoint',
    'seed_worker',
    'wrap_blocks',
]
