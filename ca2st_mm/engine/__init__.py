# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Training helpers: mixed precision, checkpoints, checks before a run."""

from ca2st_mm.engine import checkpoint_schemes
from ca2st_mm.engine.bf16_optim_wrapper import BFloat16OptimWrapper
from ca2st_mm.engine.class_check import ClassCountError, check_classes
from ca2st_mm.engine.delta_checkpoint_hook import DeltaCheckpointHook
from ca2st_mm.engine.preflight import MissingFileError, check_files
from ca2st_mm.engine.result_record import ResultRecordHook

__all__ = [
    'BFloat16OptimWrapper',
    'ClassCountError',
    'DeltaCheckpointHook',
    'MissingFileError',
    'ResultRecordHook',
    'check_classes',
    'check_files',
    'checkpoint_schemes',
]
