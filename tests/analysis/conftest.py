# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

# The scripts of this folder import each other.
sys.path.append(str(Path(__file__).resolve().parents[2] / 'tools/analysis'))
