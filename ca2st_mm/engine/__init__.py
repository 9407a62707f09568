# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Training helpers: rates, precision, checkpoints, checks before a run."""

from ca2st_mm.engine import checkpoint_schemes
from ca2st_mm.engine.bf16_optim_wrapper import BFloat16OptimWrapper
from ca2st_mm.engine.class_check import ClassCountError, check_classes
from ca2st_mm.engine.delta_checkpoint_hook import DeltaCheckpointHook
from ca2st_mm.engine.fsdp_units import wrap_halves
from ca2st_mm.engine.layer_decay import MultiExpertOptimConstructor
from ca2st_mm.engine.linear_scaling_hook import LinearScalingHook
from ca2st_mm.engine.missed_validation_hook import MissedValidationHook
from ca2st_mm.engine.non_finite_loss_hook import (
    NonFiniteLossError,
    NonFiniteLossHook,
)
from ca2st_mm.engine.preflight import MissingFileError, check_files
from ca2st_mm.engine.random_state_hook import RandomStateHook, seed_worker
from ca2st_mm.engine.result_record import ResultRecordHook
from ca2st_mm.engine.stall_watch_hook import StallWatchHook
from ca2st_mm.engine.warmup_cosine import WarmupCosineLR
from ca2st_mm.engine.whole_checkpoints import (
    AtomicLocalBackend,
    last_whole_checkpoint,
)

__all__ = [
    'AtomicLocalBackend',
    'BFloat16OptimWrapper',
    'ClassCountError',
    'DeltaCheckpointHook',
    'LinearScalingHook',
    'MissingFileError',
    'MissedValidationHook',
    'MultiExpertOptimConstructor',
    'NonFiniteLossError',
    'NonFiniteLossHook',
    'RandomStateHook',
    'ResultRecordHook',
    'StallWatchHook',
    'WarmupCosineLR',
    'check_classes',
    'check_files',
    'checkpoint_schemes',
    'last_whole_checkpoint',
    'seed_worker',
    'wrap_halves',
]
