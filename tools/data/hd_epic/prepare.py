# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Write the annotation files of HD-EPIC; see its README.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from prepare_benchmark import prepare

if __name__ == '__main__':
    prepare('hd_epic')
