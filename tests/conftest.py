# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
import sys
from pathlib import Path

from mmengine.registry import init_default_scope

for helpers in (Path(__file__).parent, Path(__file__).parent / 'models'):
    sys.path.insert(0, str(helpers))

import ca2st_mm  # noqa: E402, F401

# Configs name it (default_runtime); tests that build parts alone need it too.
init_default_scope('mmaction')
