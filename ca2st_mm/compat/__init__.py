# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every workaround for a fault of the packages below us.

One small function per fault; its docstring names the fault.  Each leaves
things alone where upstream is fixed, none edits an installed file, and all
of them may run any number of times.  This package imports nothing else of
ours, so that it can run before anything else.
"""

from .checkpoint_loading import allow_mmengine_checkpoints, load_urls_safely
from .mmaction_import import (
    accept_newer_mmcv,
    import_transformers_late,
    supply_missing_drn,
    survive_broken_vindlu,
)
from .running import (
    accept_bfloat16_scores,
    accept_lists_of_topk,
    balance_wrapped_datasets,
    distribute_on_cpu,
    find_our_configs,
    gather_metrics_by_messages,
    restore_numpy_names,
    silence_known_warnings,
    take_shared_parameters_once,
)

FIXES = (
    silence_known_warnings,
    import_transformers_late,
    restore_numpy_names,
    accept_newer_mmcv,
    supply_missing_drn,
    survive_broken_vindlu,
    allow_mmengine_checkpoints,
    load_urls_safely,
    distribute_on_cpu,
    find_our_configs,
    balance_wrapped_datasets,
    accept_bfloat16_scores,
    accept_lists_of_topk,
    take_shared_parameters_once,
    gather_metrics_by_messages,
)


def apply() -> None:
    """Run every fix, in order; repeating it changes nothing."""
    for fix in FIXES:
        fix()
