# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Look for every file a config names before a long run starts.

A config may say where its files come from in a top-level dict ``fetch``,
path to sentence::

    fetch = {'checkpoints/clip.pth': 'download X and run tools/...'}
"""

import os
import os.path as osp
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple

LOADERS = {
    'train': ('train_dataloader', 'val_dataloader'),
    'test': ('test_dataloader',),
}


class MissingFileError(FileNotFoundError):
    """A file named by the config is not there; the message says the cure."""


class NeededFile(NamedTuple):
    """A path that a config names, and the place in the config that does."""

    path: str
    key: str
    what: str


def check_files(cfg: Mapping[str, Any], mode: str = 'train') -> None:
    """Stop early if a data file or checkpoint of the config is missing.

    Addresses with a scheme (``https://``, ``s3://``, ...) are not checked.

    Args:
        cfg: The complete config, command-line options merged.
        mode: ``'train'`` checks training and validation data and the
            checkpoints that initialise the model, ``'test'`` the test data;
            both check ``load_from``.

    Raises:
        MissingFileError: One sentence that names every missing file, what
            to fetch and where to put it.
    """
    missing: Dict[str, NeededFile] = {}
    for needed in _needed_files(cfg, mode):
        if not osp.exists(osp.expanduser(needed.path)):
            missing.setdefault(needed.path, needed)
    if not missing:
        return
    hints = cfg.get('fetch') or {}
    parts = [_describe(needed, hints) for needed in missing.values()]
    noun = 'a file is' if len(parts) == 1 else f'{len(parts)} files are'
    raise MissingFileError(f'Cannot start, {noun} missing: {"; ".join(parts)}')


def _describe(needed: NeededFile, hints: Mapping[str, str]) -> str:
    """Name one missing file and its cure."""
    place = osp.abspath(osp.expanduser(needed.path))
    source = hints.get(needed.path) or f'get {needed.what}'
    other = f'with --cfg-options {needed.key}=PATH'
    if needed.key == 'load_from':
        # The checkpoint is an argument of its own, which comes before.
        other = 'on the command line'
    return (
        f'{needed.path} ({source}; put it at {place}, or name another place '
        f'{other})'
    )


def _needed_files(cfg: Mapping[str, Any], mode: str) -> Iterator[NeededFile]:
    """List the local files that a run in this mode is going to open."""
    if mode not in LOADERS:
        raise ValueError(f'mode must be one of {list(LOADERS)}, got {mode!r}')
    if isinstance(cfg.get('load_from'), str):
        yield from _local(cfg['load_from'], 'load_from', 'the checkpoint')
    if mode == 'train':
        # Only training initialises the model; testing loads all of it.
        yield from _checkpoints(cfg.get('model'), 'model')
    for name in LOADERS[mode]:
        loader = cfg.get(name)
        if loader:
            yield from _data_files(loader, name)


def _local(path: str, key: str, what: str) -> List[NeededFile]:
    """The path as a list, which is empty if it is not a local path."""
    if not path or '://' in path or path.startswith('s3:'):
        return []
    return [NeededFile(path, key, what)]


def _children(node: Any, key: str) -> Iterator[Any]:
    """Yield (value, dotted key) of every entry of a dict or list."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield value, f'{key}.{name}'
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield value, f'{key}.{index}'


def _checkpoints(node: Any, key: str) -> Iterator[NeededFile]:
    """Find ``init_cfg.checkpoint`` anywhere below a part of the model."""
    if isinstance(node, Mapping):
        inits = node.get('init_cfg')
        inits = [inits] if isinstance(inits, Mapping) else inits or []
        for index, init in enumerate(inits):
            if not isinstance(init, Mapping):
                continue
            path = init.get('checkpoint')
            if isinstance(path, str):
                step = f'.{index}' if len(inits) > 1 else ''
                where = f'{key}.init_cfg{step}.checkpoint'
                yield from _local(path, where, 'the pretrained weights')
    for child, child_key in _children(node, key):
        if not child_key.endswith('.init_cfg'):
            yield from _checkpoints(child, child_key)


def _data_files(node: Any, key: str) -> Iterator[NeededFile]:
    """Find annotation files and data folders below a dataloader."""
    if isinstance(node, Mapping):
        root = node.get('data_root') or ''
        annotation = node.get('ann_file')
        if isinstance(annotation, str):
            path = annotation and _join(root, annotation)
            yield from _local(path, f'{key}.ann_file', 'the annotation file')
        prefixes = node.get('data_prefix')
        if isinstance(prefixes, Mapping) and isinstance(annotation, str):
            for child, child_key in _children(prefixes, f'{key}.data_prefix'):
                if isinstance(child, str):
                    path = _join(root, child)
                    yield from _local(path, child_key, 'the data folder')
    for child, child_key in _children(node, key):
        yield from _data_files(child, child_key)


def _join(root: str, path: str) -> str:
    """Join as MMEngine's datasets do; an absolute path stands alone."""
    if '://' in path or osp.isabs(path) or not root:
        return path
    if '://' in root:
        return root
    return os.path.join(root, path)
