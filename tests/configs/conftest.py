# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

# `get_flops`, which counts what a model costs.
sys.path.append(str(Path(__file__).resolve().parents[2] / 'tools/analysis'))
# `media`, which writes miniature benchmarks.
BENCHMARKS = Path(__file__).parents[1] / 'datasets' / 'benchmarks'
sys.path.insert(0, str(BENCHMARKS))
