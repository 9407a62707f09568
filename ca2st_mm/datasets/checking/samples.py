# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The rows of one or several manifests, ready to be checked."""

import os.path as osp
from collections.abc import Sequence
from typing import NamedTuple

from ..manifest import read_annotations


class Sample(NamedTuple):
    """One row.

    Attributes:
        split: Name of the manifest without folder and extension.
        path: The video.
        audio: The sound file; None where it is the video.
        start: First second; None for the beginning.
        end: Last second; None for the end.
        labels: Class index by label column.
    """

    split: str
    path: str
    audio: str | None
    start: float | None
    end: float | None
    labels: dict[str, int]


class Fault(NamedTuple):
    """Something wrong.

    Attributes:
        kind: One of ``KINDS``.
        split: Where; empty for faults between splits.
        path: The file, or empty.
        detail: One sentence.
    """

    kind: str
    split: str
    path: str
    detail: str


KINDS = dict(
    missing='the file does not exist',
    unreadable='the file cannot be opened or decoded',
    no_sound='there is no sound track, or nothing of it in the clip',
    silent='the sound is (nearly) zero throughout',
    out_of_sync='picture and sound start or end far apart',
    too_short='the clip is shorter than allowed',
    bad_label='a label is out of range',
    untrained_class='a class has no training sample',
    duplicate='the same clip is in two splits',
)


def read_samples(
    manifests: Sequence[str], data_root: str = '', audio_root: str = ''
) -> list[Sample]:
    """Read manifests as ``AudioVisualDataset`` does, without label limits.

    Args:
        manifests: Annotation files, one a split.
        data_root: Folder of the videos.
        audio_root: Folder of the sound files.

    Raises:
        ValueError: If a manifest is not understood, or two have one name.
    """
    names = [osp.splitext(osp.basename(path))[0] for path in manifests]
    if len(set(names)) < len(names):
        raise ValueError(
            f'The manifests {names} are splits and need different file names.'
        )
    samples = []
    for split, manifest in zip(names, manifests, strict=True):
        for row in read_annotations(manifest, {}):
            audio = row['audio'] and osp.join(audio_root, row['audio'])
            samples.append(
                Sample(
                    split,
                    osp.join(data_root, row['file']),
                    audio,
                    row['start'],
                    row['end'],
                    _labels(row['label']),
                )
            )
    return samples


def _labels(label) -> dict[str, int]:
    """Class index by column; nothing for a test set without labels."""
    if label is None:
        return {}
    if isinstance(label, list):
        return dict(zip(('verb', 'noun'), label, strict=True))
    return dict(label=label)


def check_labels(
    samples: Sequence[Sample], sizes: dict[str, int], train: str | None
) -> list[Fault]:
    """Labels out of range and classes nobody learns.

    Args:
        samples: All rows.
        sizes: Number of classes by label column; empty: unchecked.
        train: Name of the training split; None: not among them.
    """
    faults = []
    for sample in samples:
        for column, label in sample.labels.items():
            size = sizes.get(column)
            if size is not None and label >= size:
                detail = f'{column} {label} of {size} classes'
                faults.append(
                    Fault('bad_label', sample.split, sample.path, detail)
                )
    if train is None:
        return faults
    for column, size in sizes.items():
        learnt = {s.labels.get(column) for s in samples if s.split == train}
        faults += [
            Fault('untrained_class', train, '', f'{column} {label}')
            for label in range(size)
            if label not in learnt
        ]
    return faults


def check_duplicates(
    samples: Sequence[Sample], prints: dict[str, str]
) -> list[Fault]:
    """Clips that are in two splits, under one name or several.

    Two spans of one file count only where they overlap.

    Args:
        samples: All rows.
        prints: Fingerprint of the content by path.
    """
    faults: list[Fault] = []
    seen: dict[str, list[Sample]] = {}
    for sample in samples:
        same = seen.setdefault(prints.get(sample.path, sample.path), [])
        for other in same:
            if other.split != sample.split and _overlap(other, sample):
                detail = f"also in '{other.split}' as {_where(other)}"
                faults.append(
                    Fault('duplicate', sample.split, sample.path, detail)
                )
                break
        same.append(sample)
    return faults


def _span(sample: Sample) -> tuple[float, float]:
    end = float('inf') if sample.end is None else sample.end
    return sample.start or 0.0, end


def _overlap(left: Sample, right: Sample) -> bool:
    (a, b), (c, d) = _span(left), _span(right)
    return a < d and c < b


def _where(sample: Sample) -> str:
    if sample.start is None and sample.end is None:
        return sample.path
    return f'{sample.path} from {sample.start} s to {sample.end} s'
