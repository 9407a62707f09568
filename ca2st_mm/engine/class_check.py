# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Compare the classes of head and data before a run starts."""

import os.path as osp
from collections.abc import Iterator, Mapping
from typing import Any

from ca2st_mm.utils.class_names import (
    agreed_num_classes,
    resolve_class_names,
    sizes_by_column,
)

from .preflight import LOADERS, MissingFileError

_HEAD_KEYS = dict(
    label='num_classes',
    verb='num_verbs',
    noun='num_nouns',
)


class ClassCountError(ValueError):
    """Head and data disagree; the message says both numbers."""


def check_classes(cfg: Mapping[str, Any], mode: str = 'train') -> None:
    """Stop early if the head and a data set have different classes.

    A data set that states neither ``num_classes`` nor ``classes``, and a
    model without ``cls_head``, are not checked.

    Args:
        cfg: The complete config, command-line options merged.
        mode: ``'train'`` or ``'test'``: whose data is looked at.

    Raises:
        ClassCountError: If head and data disagree, or a data set with
            itself.
        MissingFileError: If a class list is not there.
    """
    head = _head_sizes((cfg.get('model') or {}).get('cls_head') or {})
    if not head:
        return
    for name in LOADERS[mode]:
        for dataset, key in _datasets(cfg.get(name), name):
            sizes = _dataset_sizes(dataset, key)
            if sizes and sizes != head:
                raise ClassCountError(_disagreement(head, sizes, key))


def _head_sizes(head: Mapping[str, Any]) -> dict[str, int]:
    """Number of classes that a head predicts, by label column."""
    return {
        column: head[key]
        for column, key in _HEAD_KEYS.items()
        if head.get(key) is not None
    }


def _datasets(node: Any, key: str) -> Iterator[tuple[Mapping, str]]:
    """Find the data sets below a loader, wrapped ones too."""
    if isinstance(node, Mapping):
        if 'ann_file' in node:
            yield node, key
            return
        for name, child in node.items():
            yield from _datasets(child, f'{key}.{name}')
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _datasets(child, f'{key}.{index}')


def _dataset_sizes(dataset: Mapping[str, Any], key: str) -> dict[str, int]:
    """Number of classes of a data set, by label column; empty if unstated."""
    num_classes = dataset.get('num_classes')
    classes = dataset.get('classes')
    if classes is None:
        return sizes_by_column(num_classes)
    try:
        names = resolve_class_names(classes, dataset.get('data_root') or '')
        return sizes_by_column(agreed_num_classes(names, num_classes))
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
        f'model.cls_head.{_HEAD_KEYS[column]}={size}'
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
