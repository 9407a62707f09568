# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How MMEngine loads checkpoints: weights of the zoo, and no foreign code.

Every door of MMEngine and MMAction2 (``init_cfg``, ``load_from``, resuming,
``init_recognizer``) asks ``CheckpointLoader``, which tells by the front of an
address who loads it.
"""

from typing import Any, Dict

from mmengine.runner.checkpoint import CheckpointLoader

from ca2st_mm import zoo
from ca2st_mm.checkpoints.files import read_checkpoint


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Read a local checkpoint; see ``read_checkpoint`` for its errors."""
    checkpoint = read_checkpoint(filename, map_location)
    meta = checkpoint.get('meta')
    if isinstance(meta, dict):
        # Resuming would run this text as Python, only to look for the number
        # of GPUs of MMEngine's first releases.
        meta.pop('config', None)
    return checkpoint


@CheckpointLoader.register_scheme(prefixes=zoo.SCHEME)
def load_from_zoo(filename: str, map_location: Any) -> Dict[str, Any]:
    """Load weights of the zoo, fetched first if they are not cached.

    Args:
        filename: ``zoo://NAME``.
        map_location: As for ``torch.load``.

    Raises:
        ValueError: If the zoo has no such entry.
        zoo.ZooError: If the weights cannot be had.
    """
    path = zoo.fetch(filename)
    return CheckpointLoader.load_checkpoint(str(path), map_location)
