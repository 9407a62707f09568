# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the ``prepare.py`` of all benchmarks run."""

import importlib.util
import sys
from types import ModuleType


def prepare(name: str) -> int:
    """Prepare a benchmark as the flags say; the exit status."""
    # Packages without their contents, which would import torch: the flags
    # stand in the package, and --help should not take seconds.
    for package in ('ca2st_mm', 'ca2st_mm.datasets'):
        if package not in sys.modules:
            module = ModuleType(package)
            spec = importlib.util.find_spec(package)
            module.__path__ = spec.submodule_search_locations
            sys.modules[package] = module
    from ca2st_mm.datasets.benchmarks import BENCHMARKS, main
    from ca2st_mm.utils.text_files import ListFileError

    try:
        main(BENCHMARKS[name])
    except ListFileError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0
