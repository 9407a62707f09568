# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Look at files and classes that a config names before a long run starts."""

import os.path as osp
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmengine.fileio import join_path
from mmengine.utils import is_abs

from ca2st_mm import zoo
from ca2st_mm.models.backbones.foreign import STRINGS
from ca2st_mm.utils.building import nodes
from ca2st_mm.utils.class_names import (
    resolve_class_names,
    say_sizes,
    sizes_by_column,
)
from ca2st_mm.utils.errors import UsageError, UserError

# Weights that are fetched before the run starts.
FETCHED = (zoo.SCHEME, zoo.HUB_SCHEME)
LOADERS = {
    'train': ('train_dataloader', 'val_dataloader'),
    'test': ('test_dataloader',),
}
# By label column, the option of the head that holds its number of classes.
HEAD_OPTIONS = dict(label='num_classes', verb='num_verbs', noun='num_nouns')

# By folder, what makes the files of the toy.
TOY = {
    'work_dirs/toy/': '`ca2st demo` trains it',
    'data/toy/': '`ca2st data make-toy` writes it',
}


class MissingFileError(UserError, FileNotFoundError):
    """Files named by the config are not there; the message says the fix."""


def check_files(cfg: Mapping[str, Any], mode: str = 'train') -> None:
    """Stop early if a data file or checkpoint of the config is missing.

    Weights of the zoo and of the Hub are fetched, all at once, if no other
    file is missing.  In a distributed run the process that comes first
    fetches them, the others wait for it and find them in the cache.  URLs
    with another scheme (``https://``, ``s3://``, ...) are not checked.

    Args:
        cfg: The complete config, command-line options merged.
        mode: ``'train'`` checks training and validation data and the
            checkpoints that initialise the model, ``'test'`` the test data;
            both check ``load_from``.

    Raises:
        MissingFileError: Has a line for every missing file: what to fetch
            and where to put it.
    """
    needed: dict[str, tuple[str, str]] = {}
    for path, key, what in _needed_files(cfg, mode):
        needed.setdefault(path, (key, what))
    weights = [path for path in needed if path.startswith(FETCHED)]
    missing = {
        path: _advice(path, key, what)
        for path, (key, what) in needed.items()
        if '://' not in path and not osp.exists(_place(path))
    }

    def problem(path: str) -> str | None:
        try:
            # Nothing is fetched in vain.
            zoo.fetch(path, offline=bool(missing))
        except (zoo.ZooError, ValueError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(weights) or 1) as pool:
        problems = list(pool.map(problem, weights))
    for path, found in zip(weights, problems, strict=True):
        if found:
            option = _option(needed[path][0])
            missing[path] = f'{found}; or name another file {option}'
    if missing:
        count = len(missing)
        noun = 'a file is' if count == 1 else f'{count} files are'
        lines = [f'{path}: {advice}' for path, advice in missing.items()]
        raise MissingFileError(
            '\n  '.join([f'Cannot start, {noun} missing:', *lines])
        )


def needed_weights(cfg: Mapping[str, Any]) -> list[str]:
    """Pretrained weights that a config starts from: paths and URLs."""
    files = _needed_files(cfg, 'train')
    return list(dict.fromkeys(p for p, key, _ in files if 'init_cfg' in key))


def _advice(path: str, key: str, what: str) -> str:
    """How to get a file that is not there."""
    for folder, source in TOY.items():
        if path.startswith(folder):
            return f'{source}; or name another place {_option(key)}'
    # Imported here: a run whose files are all there does not need it.
    from ca2st_mm.datasets.benchmarks import BENCHMARKS

    source = f'get {what}'
    for benchmark in BENCHMARKS.values():
        if osp.dirname(path) == f'data/{benchmark.folder}':
            source = (
                f'`ca2st data prepare {benchmark.name}` writes it from the '
                'official lists'
            )
    return (
        f'{source}; put it at {_place(path)}, or name another place '
        f'{_option(key)}'
    )


def _place(path: str) -> str:
    return osp.abspath(osp.expanduser(path))


def _option(key: str) -> str:
    # The checkpoint is an argument of its own, which comes before.
    if key == 'load_from':
        return 'on the command line'
    return f'with --cfg-options {key}=PATH'


def _needed_files(
    cfg: Mapping[str, Any], mode: str
) -> Iterator[tuple[str, str, str]]:
    """Path, key in the config and kind of each file that a run opens."""
    if isinstance(cfg.get('load_from'), str):
        yield zoo.canonical(cfg['load_from']), 'load_from', 'the checkpoint'
    # Only training initialises the model; testing loads all of it.
    model = cfg.get('model') if mode == 'train' else None
    for node, key in nodes(model, 'model'):
        path = node.get('checkpoint')
        # An expert by one string finds its weights itself.
        is_file = isinstance(path, str) and not path.startswith(STRINGS)
        if is_file and 'init_cfg' in key:
            what = 'the pretrained weights'
            yield zoo.canonical(path), f'{key}.checkpoint', what
    for name in LOADERS[mode]:
        for node, key in nodes(cfg.get(name), name):
            if not isinstance(node.get('ann_file'), str):
                continue
            paths = {
                f'{key}.data_prefix.{name}': (folder, 'the data folder')
                for name, folder in (node.get('data_prefix') or {}).items()
            }
            paths[f'{key}.ann_file'] = node['ann_file'], 'the annotation file'
            for where, (path, what) in paths.items():
                if isinstance(path, str) and path:
                    root = '' if is_abs(path) else node.get('data_root')
                    yield join_path(root, path) if root else path, where, what


def check_classes(cfg: Mapping[str, Any], mode: str = 'train') -> None:
    """Stop early if the head and a dataset have different classes, or one.

    A dataset that states neither ``num_classes`` nor ``classes``, and a
    model without ``cls_head``, are not checked.

    Args:
        cfg: The complete config, command-line options merged.
        mode: ``'train'`` or ``'test'``: whose data is looked at.

    Raises:
        UsageError: If they disagree, or there is nothing to tell apart.
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
        raise UsageError(
            'The head has a single class, so every answer would be right and '
            'nothing would be learnt; list at least two classes'
        )
    for name in LOADERS[mode]:
        for dataset, key in nodes(cfg.get(name), name):
            sizes = _sizes(dataset, key) if 'ann_file' in dataset else {}
            if not sizes or sizes == head:
                continue
            if sizes.keys() != head.keys():
                todo = 'take a head, or an annotation file, of the other kind'
            else:
                wanted = ' '.join(
                    f'model.cls_head.{HEAD_OPTIONS[column]}={size}'
                    for column, size in sizes.items()
                )
                todo = (
                    f'set {wanted}, or name the class list that the model was '
                    'made for'
                )
            raise UsageError(
                f'The head has {say_sizes(head)}, but {key} has '
                f'{say_sizes(sizes)}; {todo}'
            )


def _sizes(dataset: Mapping[str, Any], key: str) -> dict[str, int]:
    """Number of classes of a dataset, by label column; empty if unstated."""
    root, classes = dataset.get('data_root') or '', dataset.get('classes')
    try:
        if classes is not None:
            encoding = dataset.get('encoding')
            classes = resolve_class_names(classes, root, encoding)
        return sizes_by_column(dataset.get('num_classes'), classes)
    except FileNotFoundError as error:
        raise MissingFileError(
            f'Cannot start, the class list {osp.abspath(error.filename)} is '
            f'missing; write it, one name a line, or set {key}.num_classes '
            f'instead of {key}.classes'
        ) from error
    except ValueError as error:
        raise UsageError(f'{key}: {error}') from error
