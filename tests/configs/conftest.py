# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

# `media`, which writes miniature benchmarks.
BENCHMARKS = Path(__file__).parents[1] / 'datasets' / 'benchmarks'
sys.path.insert(0, str(BENCHMARKS))
