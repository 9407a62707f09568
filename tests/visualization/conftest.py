# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
