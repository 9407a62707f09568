# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How MMEngine loads checkpoints: weights of the zoo, and no foreign code.

Every door of MMEngine and MMAction2 (``init_cfg``, ``load_from``, resuming,
``init_recognizer``) asks ``CheckpointLoader``, which tells by the front of an
address who loads it.
"""

from typing import Any

from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader

from ca2st_mm import zoo
from ca2st_mm.checkpoints import from_reference, unwrap
from ca2st_mm.checkpoints.files import read_checkpoint
from ca2st_mm.checkpoints.reference import is_reference


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a local checkpoint; see ``read_checkpoint`` for its errors."""
    checkpoint = read_checkpoint(filename, map_location)
    meta = checkpoint.get('meta')
    if isinstance(meta, dict):
        # Resuming would run the text under 'config' as Python, only to look
        # for the number of GPUs of MMEngine's first releases.
        if 'config' in meta:
            meta['published_config'] = meta.pop('config')
    return _in_our_names(checkpoint, filename)


def _in_our_names(checkpoint: dict[str, Any], filename: str) -> dict[str, Any]:
    """Convert a checkpoint of the authors of CAST, CAVA and CA2ST.

    MMEngine would match no name of it, warn, and test random weights.
    """
    try:
        weights = unwrap(checkpoint).state_dict
    except ValueError:
        return checkpoint  # no weights inside: not one of theirs
    if not is_reference(weights):
        return checkpoint
    conversion = from_reference(weights)
    lines = ['read as a checkpoint of the authors', *conversion.account()]
    print_log(f'{filename}: {"; ".join(lines)}', logger='current')
    return dict(state_dict=conversion.state_dict, meta={})


@CheckpointLoader.register_scheme(prefixes=zoo.SCHEME)
def load_from_zoo(filename: str, map_location: Any) -> dict[str, Any]:
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


@CheckpointLoader.register_scheme(
    prefixes=('http://', 'https://', 'hf://'), force=True
)
def load_from_web(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load a checkpoint from the web, fetched first if it is not cached.

    Args:
        filename: ``https://...`` or ``hf://owner/name/file``.
        map_location: As for ``torch.load``.

    Raises:
        zoo.ZooError: If the file cannot be had.
    """
    path = zoo.fetch_address(filename)
    return CheckpointLoader.load_checkpoint(str(path), map_location)
