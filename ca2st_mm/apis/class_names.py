# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the classes of a trained model are called."""

import json
import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import nn

from ca2st_mm.datasets.benchmarks import BENCHMARKS, class_names
from ca2st_mm.utils.class_names import resolve_class_names

# Names by task: 'label', or 'verb' and 'noun'.
Names = dict[str, tuple[str, ...]]


def names_of_model(
    head: nn.Module, meta: Mapping[str, Any], dataset: Mapping[str, Any]
) -> Names:
    """Names of the classes that a head predicts.

    They come from the first of these that has some: the checkpoint, the
    config's own list, the list of the benchmark that the config's
    ``data_root`` names.  Without any, a class is called by its number.

    Args:
        head: The head; ``sizes`` or ``num_classes`` tells how many.
        meta: The checkpoint's ``meta``.
        dataset: The config's test data set.

    Raises:
        ValueError: If there are not as many names as classes, or the
            checkpoint and the config name them differently.
    """
    sizes = sizes_of(head)
    stored, listed = _stored(meta), _listed(dataset)
    if stored and listed and stored != listed:
        raise ValueError(
            'the checkpoint and the config name the classes differently: '
            f'{_difference(stored, listed)}; take the class list that the '
            'model was trained with'
        )
    names = stored or listed or _of_benchmark(dataset, sizes)
    if not names:
        print_log(
            'The classes have no names, so they are called by their numbers; '
            "put classes='FILE' into the config's test data set.",
            logger='current',
        )
        return {t: tuple(map(str, range(n))) for t, n in sizes.items()}
    counted = {task: len(of_task) for task, of_task in names.items()}
    if counted != sizes:
        raise ValueError(
            f'the model has {_say(sizes)}, but there are names for '
            f'{_say(counted)}; take the class list that it was trained with'
        )
    return names


def sizes_of(head: nn.Module) -> dict[str, int]:
    """Number of classes by task: 'label', or 'verb' and 'noun'."""
    return dict(getattr(head, 'sizes', None) or {'label': head.num_classes})


def _stored(meta: Mapping[str, Any]) -> Names:
    classes = (meta.get('dataset_meta') or {}).get('classes')
    if classes is None and isinstance(meta.get('classes'), str):
        classes = json.loads(meta['classes'])
    return _by_task(classes or {})


def _listed(dataset: Mapping[str, Any]) -> Names:
    """The names in the config, if their files are on this machine."""
    classes = dataset.get('classes') or {}
    try:
        root = dataset.get('data_root') or ''
        return _by_task(resolve_class_names(classes, root))
    except FileNotFoundError:
        return {}


def _of_benchmark(
    dataset: Mapping[str, Any], sizes: Mapping[str, int]
) -> Names:
    folder = osp.basename(osp.normpath(dataset.get('data_root') or ''))
    for benchmark in BENCHMARKS.values():
        known = osp.basename(benchmark.folder)
        if known == folder and dict(benchmark.classes) == sizes:
            return _by_task(class_names(benchmark))
    return {}


def _by_task(classes: Mapping[str, Sequence] | Sequence[str]) -> Names:
    if not isinstance(classes, Mapping):
        classes = dict(label=classes)
    return {task: tuple(names) for task, names in classes.items()}


def _difference(stored: Names, listed: Names) -> str:
    """The first place where two lists part."""
    for task in {**stored, **listed}:
        a, b = stored.get(task, ()), listed.get(task, ())
        if len(a) != len(b):
            return f'{len(a)} names in the checkpoint, {len(b)} in the config'
        for number, (ours, theirs) in enumerate(zip(a, b, strict=True)):
            if ours != theirs:
                return (
                    f'class {number} is {ours!r} in the checkpoint, '
                    f'{theirs!r} in the config'
                )
    raise AssertionError('the lists are equal')


def _say(sizes: Mapping[str, int]) -> str:
    words = [
        str(size) if task == 'label' else f'{size} {task}'
        for task, size in sizes.items()
    ]
    return f'{" and ".join(words)} classes'
