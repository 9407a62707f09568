# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Look for every file a config names before a long run starts.

Weights of the zoo (``zoo://NAME``) are fetched.  For the annotation files of a
benchmark (``data/<benchmark>/...``) the message names the tool that writes
them; for other files a config may say where they come from in a top-level
dict ``fetch``, path to sentence::

    fetch = {'data/mine/train.csv': 'list your training clips'}
"""

import os
import os.path as osp
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ca2st_mm import zoo

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

    Weights of the zoo are fetched once no other file is missing.  In a
    distributed run the process that comes first fetches them, the others
    wait for it and find them in the cache.  Addresses with another scheme
    (``https://``, ``s3://``, ...) are not checked.

    Args:
        cfg: The complete config, command-line options merged.
        mode: ``'train'`` checks training and validation data and the
            checkpoints that initialise the model, ``'test'`` the test data;
            both check ``load_from``.

    Raises:
        MissingFileError: One sentence that names every missing file, what
            to fetch and where to put it.
    """
    needed: dict[str, NeededFile] = {}
    for file in _needed_files(cfg, mode):
        needed.setdefault(file.path, file)
    hints = cfg.get('fetch') or {}
    _stop_if_any(_find_locally(file, hints) for file in needed.values())
    _stop_if_any(_fetch(file) for file in needed.values())


def _stop_if_any(problems: Iterator[str | None]) -> None:
    parts = [problem for problem in problems if problem]
    if parts:
        count = len(parts)
        noun = 'a file is' if count == 1 else f'{count} files are'
        raise MissingFileError(
            f'Cannot start, {noun} missing: {"; ".join(parts)}'
        )


def _find_locally(needed: NeededFile, hints: Mapping[str, str]) -> str | None:
    """Name a missing file and its cure; None if it is there or in the zoo."""
    if needed.path.startswith(zoo.SCHEME):
        try:
            zoo.find(needed.path)
        except ValueError as error:
            return f'{needed.path} ({error})'
        return None
    if osp.exists(osp.expanduser(needed.path)):
        return None
    place = osp.abspath(osp.expanduser(needed.path))
    source = hints.get(needed.path) or _source(needed)
    return (
        f'{needed.path} ({source}; put it at {place}, or name another place '
        f'{_elsewhere(needed)})'
    )


def _source(needed: NeededFile) -> str:
    """Where a missing file comes from."""
    # Imported here: a run whose files are all there does not need it.
    from ca2st_mm.datasets.benchmarks import BENCHMARKS

    for benchmark in BENCHMARKS.values():
        if osp.dirname(needed.path) == f'data/{benchmark.folder}':
            return (
                f'tools/data/{benchmark.name}/prepare.py writes it from the '
                'official lists'
            )
    return f'get {needed.what}'


def _fetch(needed: NeededFile) -> str | None:
    """Have weights of the zoo in the cache, or say why they are not."""
    if not needed.path.startswith(zoo.SCHEME):
        return None
    try:
        zoo.fetch(needed.path)
    except zoo.ZooError as error:
        return (
            f'{needed.path} ({error}; or name another file '
            f'{_elsewhere(needed)})'
        )
    return None


def _elsewhere(needed: NeededFile) -> str:
    if needed.key == 'load_from':
        # The checkpoint is an argument of its own, which comes before.
        return 'on the command line'
    return f'with --cfg-options {needed.key}=PATH'


def _needed_files(cfg: Mapping[str, Any], mode: str) -> Iterator[NeededFile]:
    """List the files that a run in this mode is going to open."""
    if mode not in LOADERS:
        raise ValueError(f'mode must be one of {list(LOADERS)}, got {mode!r}')
    if isinstance(cfg.get('load_from'), str):
        yield from _checked(cfg['load_from'], 'load_from', 'the checkpoint')
    if mode == 'train':
        # Only training initialises the model; testing loads all of it.
        yield from _checkpoints(cfg.get('model'), 'model')
    for name in LOADERS[mode]:
        loader = cfg.get(name)
        if loader:
            yield from _data_files(loader, name)


def _checked(path: str, key: str, what: str) -> list[NeededFile]:
    """The path as a list, which is empty if we cannot look for it."""
    foreign = '://' in path and not path.startswith(zoo.SCHEME)
    if not path or foreign or path.startswith('s3:'):
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
                yield from _checked(path, where, 'the pretrained weights')
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
            yield from _checked(path, f'{key}.ann_file', 'the annotation file')
        prefixes = node.get('data_prefix')
        if isinstance(prefixes, Mapping) and isinstance(annotation, str):
            for child, child_key in _children(prefixes, f'{key}.data_prefix'):
                if isinstance(child, str):
                    path = _join(root, child)
                    yield from _checked(path, child_key, 'the data folder')
    for child, child_key in _children(node, key):
        yield from _data_files(child, child_key)


def _join(root: str, path: str) -> str:
    """Join as MMEngine's datasets do; an absolute path stands alone."""
    if '://' in path or osp.isabs(path) or not root:
        return path
    if '://' in root:
        return root
    return os.path.join(root, path)
