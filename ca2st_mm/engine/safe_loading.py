# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""MMEngine's loading of checkpoints, without running code from them.

Every door of MMEngine and MMAction2 (``init_cfg``, ``load_from``, resuming,
``init_recognizer``) asks ``CheckpointLoader``; a path or web address given
there is read by :func:`ca2st_mm.checkpoints.files.read_checkpoint`.
"""

from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from ca2st_mm.checkpoints.files import read_checkpoint


# MMEngine's log names the loader by what follows `load_from_`.
def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a local checkpoint; see ``read_checkpoint`` for its errors."""
    checkpoint = read_checkpoint(filename, map_location)
    meta = checkpoint.get('meta')
    if isinstance(meta, dict):
        # Resuming would run this text as Python, only to look for the number
        # of GPUs of MMEngine's first releases.
        meta.pop('config', None)
    return checkpoint


CheckpointLoader.register_scheme(
    prefixes='', loader=load_from_local, force=True
)
