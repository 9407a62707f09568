# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Look at files and classes that a config names before a long run starts.

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
from ca2st_mm.utils.class_names import resolve_class_names, sizes_by_column

# Weights that are fetched before the run starts.
FETCHED = (zoo.SCHEME, zoo.HUB_SCHEME)
LOADERS = {
    'train': ('train_dataloader', 'val_dataloader'),
    'test': ('test_dataloader',),
}
# By label column, the option of the head that holds its number of classes.
HEAD_OPTIONS = dict(label='num_classes', verb='num_verbs', noun='num_nouns')


class MissingFileError(FileNotFoundError):
    """A file named by the config is not there; the message says the fix."""


class ClassCountError(ValueError):
    """Head and data disagree about the classes; the message says how."""


class NeededFile(NamedTuple):
    """A path that a config names, and the place in the config that does."""

    path: str
    key: str
    what: str


def check_files(cfg: Mapping[str, Any], mode: str = 'train') -> None:
    """Stop early if a data file or checkpoint of the config is missing.

    Weights of the zoo and of the Hub are fetched once no other file is
    missing.  In a distributed run the process that comes first fetches them,
    the others wait for it and find them in the cache.  URLs with another
    scheme (``https://``, ``s3://``, ...) are not checked.

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
    """Name a missing file and its fix; None if it is there or in the zoo."""
    if needed.path.startswith(FETCHED):
        try:
            if needed.path.startswith(zoo.SCHEME):
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
    if not needed.path.startswith(FETCHED):
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
        source = zoo.canonical(cfg['load_from'])
        yield from _checked(source, 'load_from', 'the checkpoint')
    if mode == 'train':
        # Only training initialises the model; testing loads all of it.
        for node, key in _nodes(cfg.get('model'), 'model'):
            yield from _checkpoints(node, key)
    for name in LOADERS[mode]:
        for node, key in _nodes(cfg.get(name), name):
            yield from _data_files(node, key)


def _nodes(node: Any, key: str) -> Iterator[tuple[Mapping, str]]:
    """Every dict below a part of a config, with its dotted key."""
    if isinstance(node, Mapping):
        yield node, key
        children = node.items()
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    else:
        return
    for name, child in children:
        yield from _nodes(child, f'{key}.{name}')


def _checked(path: str, key: str, what: str) -> list[NeededFile]:
    """The path as a list, which is empty if we cannot look for it."""
    foreign = '://' in path and not path.startswith(FETCHED)
    if not path or foreign or path.startswith('s3:'):
        return []
    return [NeededFile(path, key, what)]


def _checkpoints(node: Mapping, key: str) -> Iterator[NeededFile]:
    """The ``init_cfg.checkpoint`` of a part of the model."""
    inits = node.get('init_cfg') or []
    inits = [inits] if isinstance(inits, Mapping) else inits
    for index, init in enumerate(inits):
        path = init.get('checkpoint') if isinstance(init, Mapping) else None
        if isinstance(path, str):
            step = f'.{index}' if len(inits) > 1 else ''
            where = f'{key}.init_cfg{step}.checkpoint'
            source = zoo.canonical(path)
            yield from _checked(source, where, 'the pretrained weights')


def _data_files(node: Mapping, key: str) -> Iterator[NeededFile]:
    """The annotation file and the data folders of a dataset."""
    annotation, root = node.get('ann_file'), node.get('data_root') or ''
    if not isinstance(annotation, str):
        return
    path = annotation and _join(root, annotation)
    yield from _checked(path, f'{key}.ann_file', 'the annotation file')
    for name, folder in (node.get('data_prefix') or {}).items():
        if isinstance(folder, str):
            where = f'{key}.data_prefix.{name}'
            yield from _checked(_join(root, folder), where, 'the data folder')


def _join(root: str, path: str) -> str:
    """Join as MMEngine's datasets do; an absolute path stands alone."""
    if '://' in path or osp.isabs(path) or not root:
        return path
    if '://' in root:
        return root
    return os.path.join(root, path)


def check_classes(cfg: Mapping[str, Any], mode: str = 'train') -> None:
    """Stop early if the head and a dataset have different classes, or one.

    A dataset that states neither ``num_classes`` nor ``classes``, and a
    model without ``cls_head``, are not checked.

    Args:
        cfg: The complete config, command-line options merged.
        mode: ``'train'`` or ``'test'``: whose data is looked at.

    Raises:
        ClassCountError: If head and data disagree, or a dataset with itself,
            or there is nothing to tell apart.
        MissingFileError: If a class list is not there.
    """
    options = (cfg.get('model') or {}).get('cls_head') or {}
    head = {
        column: options[key]
        for column, key in HEAD_OPTIONS.items()
        if options.get(key) is not None
    }
    if not head:
        return
    if max(head.values()) == 1:
        raise ClassCountError(
            'The head has a single class, so every answer would be right and '
            'nothing would be learnt; list at least two classes'
        )
    for name in LOADERS[mode]:
        for dataset, key in _nodes(cfg.get(name), name):
            if 'ann_file' in dataset:
                sizes = _dataset_sizes(dataset, key)
                if sizes and sizes != head:
                    raise ClassCountError(_disagreement(head, sizes, key))


def _dataset_sizes(dataset: Mapping[str, Any], key: str) -> dict[str, int]:
    """Number of classes of a dataset, by label column; empty if unstated."""
    num_classes = dataset.get('num_classes')
    classes = dataset.get('classes')
    try:
        if classes is None:
            return sizes_by_column(num_classes)
        root = dataset.get('data_root') or ''
        names = resolve_class_names(classes, root, dataset.get('encoding'))
        return sizes_by_column(num_classes, names)
    except FileNotFoundError as error:
        raise MissingFileError(
            f'Cannot start, the class list {osp.abspath(error.filename)} is '
            f'missing; write it, one name a line, or set {key}.num_classes '
            f'instead of {key}.classes'
        ) from error
    except ValueError as error:
        raise ClassCountError(f'{key}: {error}') from error


def _disagreement(
    head: Mapping[str, int], sizes: Mapping[str, int], key: str
) -> str:
    if set(head) != set(sizes):
        return (
            f'The head predicts {_say(head)}, but the labels of {key} are '
            f'{_say(sizes)}; take a head, or a manifest, of the other kind.'
        )
    wanted = ' '.join(
        f'model.cls_head.{HEAD_OPTIONS[column]}={size}'
        for column, size in sizes.items()
    )
    return (
        f'The head has {_say(head)}, but {key} has {_say(sizes)}; set '
        f'{wanted}, or name the class list that the model was made for.'
    )


def _say(sizes: Mapping[str, int]) -> str:
    """For example '97 verb and 300 noun classes'."""
    words = [
        str(size) if column == 'label' else f'{size} {column}'
        for column, size in sizes.items()
    ]
    return f'{" and ".join(words)} classes'
