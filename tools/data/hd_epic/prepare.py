# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Write the manifests of HD-EPIC; see its README.md."""

from functools import partial

from ca2st_mm.datasets.benchmarks import BENCHMARKS, main
from ca2st_mm.engine.launch import run_or_explain

if __name__ == '__main__':
    run_or_explain(partial(main, BENCHMARKS['hd_epic']))
