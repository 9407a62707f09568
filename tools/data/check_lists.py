# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The rows of annotation files, and what is wrong among them."""

import os.path as osp
from collections.abc import Sequence
from typing import NamedTuple

from ca2st_mm.datasets.annotations import read_annotations
from ca2st_mm.utils.text_files import ListFileError


class Sample(NamedTuple):
    """One row; its split is the name of the list without extension."""

    split: str
    path: str
    audio: str | None  # None where it is the video
    start: float | None  # seconds; None for the beginning
    end: float | None
    labels: dict[str, int]  # class index by label column
    line: int = 0


class Fault(NamedTuple):
    """Something wrong; split or path may be empty."""

    kind: str  # of KINDS
    split: str
    path: str
    detail: str


KINDS = dict(
    missing='the file does not exist',
    unreadable='the file cannot be opened or decoded',
    no_audio='there is no audio that can be decoded, or none in the clip',
    silent='the audio is (nearly) zero throughout',
    out_of_sync='video and audio start or end far apart',
    too_short='the clip is shorter than allowed',
    past_end='the annotated span goes on after the end of the file',
    bad_label='a label is out of range',
    untrained_class='a class has no training sample',
    several_labels='the same clip is listed with different labels',
    repeated='the same clip is listed again in its split',
    duplicate='the same clip is in two splits',
)


def read_samples(
    ann_files: Sequence[str],
    data_root: str = '',
    audio_root: str = '',
    encoding: str | None = None,
) -> list[Sample]:
    """Read annotation files, one a split, without limits of labels.

    Raises:
        ListFileError: If one is not understood, or two have one name.
        FileNotFoundError: If there is no such file.
    """
    names = [osp.splitext(osp.basename(path))[0] for path in ann_files]
    if len(set(names)) < len(names):
        raise ListFileError(
            f'The annotation files {names} are splits and need different '
            'file names.'
        )
    return [
        Sample(
            split,
            osp.join(data_root, row['file']),
            row['audio'] and osp.join(audio_root, row['audio']),
            row['start'],
            row['end'],
            _labels(row['label']),
            row['line'],
        )
        for split, ann_file in zip(names, ann_files, strict=True)
        for row in read_annotations(ann_file, {}, encoding)
    ]


def _labels(label: int | list[int] | None) -> dict[str, int]:
    """Class index by column; nothing for a test set without labels."""
    if isinstance(label, list):
        return dict(verb=label[0], noun=label[1])
    return {} if label is None else dict(label=label)


def check_labels(
    samples: Sequence[Sample], sizes: dict[str, int], train: str | None
) -> list[Fault]:
    """Labels out of range, and classes without a sample of the split train.

    ``sizes`` has the number of classes by label column; those of others are
    not checked.
    """
    faults = [
        Fault(
            'bad_label',
            sample.split,
            sample.path,
            f'{column} {label} of {sizes[column]} classes',
        )
        for sample in samples
        for column, label in sample.labels.items()
        if label >= sizes.get(column, label + 1)
    ]
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


def check_repeats(
    samples: Sequence[Sample], prints: dict[str, str]
) -> list[Fault]:
    """Clips that are listed twice; links are followed.

    In one split these are rows of the same file and span, in two splits
    those whose spans overlap, copies of the file included.

    >>> rows = [Sample(split, 'a.mp4', None, None, None, {}) for split in 'tv']
    >>> [fault.kind for fault in check_repeats(rows, {})]
    ['duplicate']
    """
    faults: list[Fault] = []
    exact: dict[tuple, Sample] = {}
    by_file: dict[str, dict[str, list[Sample]]] = {}
    for sample in samples:
        real, span = osp.realpath(sample.path), _span(sample)
        others = {}
        same_row = real, sample.split, sample.audio, span
        first = exact.setdefault(same_row, sample)
        if first is not sample:
            same = first.labels == sample.labels
            others['repeated' if same else 'several_labels'] = first
        splits = by_file.setdefault(prints.get(sample.path) or real, {})
        for split, listed in splits.items():
            if split == sample.split:
                continue
            for other in listed:
                if _overlap(_span(other), span):
                    others.setdefault('duplicate', other)
                    break
        splits.setdefault(sample.split, []).append(sample)
        faults += [
            Fault(kind, sample.split, sample.path, f'also in {_where(other)}')
            for kind, other in others.items()
        ]
    return faults


def _span(sample: Sample) -> tuple[float, float]:
    end = float('inf') if sample.end is None else sample.end
    return sample.start or 0.0, end


def _overlap(left: tuple[float, float], right: tuple[float, float]) -> bool:
    return left[0] < right[1] and right[0] < left[1]


def _where(sample: Sample) -> str:
    place = f"'{sample.split}', line {sample.line}, as {sample.path}"
    if sample.start is not None or sample.end is not None:
        place += f' from {sample.start} s to {sample.end} s'
    if sample.labels:
        labels = ', '.join(f'{k} {v}' for k, v in sample.labels.items())
        place += f' ({labels})'
    return place
