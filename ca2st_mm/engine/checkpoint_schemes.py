# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Schemes of checkpoint addresses that MMEngine does not know."""

from typing import Any, Dict

from mmengine.runner.checkpoint import CheckpointLoader

from ca2st_mm import zoo


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
