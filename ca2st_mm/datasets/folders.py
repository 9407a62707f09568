# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From folders of videos, one a class, to manifests and a class list."""

import csv
import os
import os.path as osp
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .containers import VIDEO_EXTENSIONS

_SPLIT_NAMES = {'train', 'training', 'val', 'valid', 'validation', 'test'}


class FolderError(ValueError):
    """Folders cannot become a data set; the message names thing and cure."""


class FolderSet(NamedTuple):
    """What lies below a folder.

    Attributes:
        videos: Class -> its videos, relative to the folder; both sorted.
        ignored: Files that belong to no class or are no videos.
    """

    videos: dict[str, list[str]]
    ignored: list[str]


def scan_folders(root: str) -> FolderSet:
    """Find the videos of each class.

    Args:
        root: The folder; each folder in it is a class, with videos at any
            depth.  Names that start with a dot are passed over.

    Raises:
        FolderError: If there are not two classes at least, a class has no
            video, or the folders are splits rather than classes.
    """
    if not osp.isdir(root):
        raise FolderError(f"There is no folder '{root}'.")
    names = sorted(n for n in os.listdir(root) if not n.startswith('.'))
    classes = [name for name in names if osp.isdir(osp.join(root, name))]
    if classes and {name.lower() for name in classes} <= _SPLIT_NAMES:
        raise FolderError(
            f"The folders in '{root}' are called {', '.join(classes)}: splits "
            'rather than classes. Put the class folders directly into one '
            'folder; the split is made for you.'
        )
    if len(classes) < 2:
        raise FolderError(
            f"'{root}' holds {len(classes)} class folders, at least 2 are "
            'needed: one folder a class, videos inside.'
        )
    ignored = [name for name in names if name not in classes]
    videos = {}
    for name in classes:
        files = _files_below(root, name)
        videos[name] = [path for path in files if _is_video(path)]
        ignored += [path for path in files if not _is_video(path)]
        if not videos[name]:
            raise FolderError(
                f"The class folder '{osp.join(root, name)}' holds no video "
                f'({", ".join(VIDEO_EXTENSIONS)}); add some or remove it.'
            )
    return FolderSet(videos, ignored)


def _files_below(root: str, name: str) -> list[str]:
    files = []
    for folder, _, names in os.walk(osp.join(root, name), followlinks=True):
        files += [osp.join(folder, n) for n in names if n[0] != '.']
    return sorted(osp.relpath(f, root).replace(os.sep, '/') for f in files)


def _is_video(path: str) -> bool:
    return path.lower().endswith(VIDEO_EXTENSIONS)


def split_videos(
    videos: dict[str, list[str]], val_fraction: float, seed: int
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Draw the validation clips of each class.

    Every class with two clips or more is in both splits; a lone clip is for
    training.

    Args:
        videos: Class -> its videos.
        val_fraction: Part of the clips of each class, between 0 and 1.
        seed: Same seed, same split; classes do not disturb each other.

    Returns:
        Training and validation rows: file, class index.

    Raises:
        FolderError: If ``val_fraction`` is not between 0 and 1, or nothing
            is left for validation.
    """
    if not 0 < val_fraction < 1:
        raise FolderError(
            f'--val-fraction must lie between 0 and 1, got {val_fraction}.'
        )
    train, val = [], []
    for label, (name, files) in enumerate(videos.items()):
        rng = np.random.default_rng([seed, *name.encode()])
        size = min(max(round(val_fraction * len(files)), 1), len(files) - 1)
        chosen = set(rng.permutation(len(files))[:size])
        for number, file in enumerate(files):
            (val if number in chosen else train).append((file, label))
    if not val:
        raise FolderError(
            'No class has two clips, so none is left for validation; add '
            'clips.'
        )
    return train, val


def write_rows(path: str, rows: Sequence[tuple[str, int]]) -> None:
    """Write a manifest with the columns ``file,label``."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(('file', 'label'))
        writer.writerows(rows)
