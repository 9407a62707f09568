# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Samples that cannot be used: their list, the cap, and what replaces them.

:class:`~ca2st_mm.datasets.AudioVisualDataset` decides by ``on_error``; this
file holds what it needs for that.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from mmengine.utils import mkdir_or_exist

from ca2st_mm.structures import Stream

COLUMNS = ('annotations', 'path', 'start', 'end', 'count', 'reason')
Key = tuple[str, str, str]


class TooManyBadSamples(RuntimeError):
    """More samples of a set are bad than its user allows."""


class Entry(NamedTuple):
    """What is known of one bad sample.

    Attributes:
        reason: The latest fault.
        count: How often it failed.
    """

    reason: str
    count: int


class Quarantine:
    """The list of bad samples: an append-only CSV file with a lock.

    Every failure adds a line; the last line of a sample holds how often it
    failed.  Workers and processes, also on several machines where the file
    system carries locks, see each other's lines, so the cap counts
    different samples of the whole run.  Lines of an earlier run count as
    well: delete the file once the samples are repaired.

    Args:
        path: The CSV file; its folder is made with the first line.
        annotations: Name of the set; lines of other sets do not count.
        max_bad_fraction: The share of bad samples at which a run goes on.

    Raises:
        ValueError: If the share is outside of [0, 1].
    """

    def __init__(
        self, path: str, annotations: str, max_bad_fraction: float
    ) -> None:
        if not 0 <= max_bad_fraction <= 1:
            raise ValueError(
                f'max_bad_fraction is a share from 0 to 1, not '
                f'{max_bad_fraction!r}.'
            )
        self.path = os.path.abspath(path)
        self.annotations = annotations
        self.max_bad_fraction = max_bad_fraction
        self._entries: dict[Key, Entry] = {}
        self._offset = 0

    def add(self, info: dict, reason: str, size: int) -> None:
        """Write down a failure and check the cap.

        Args:
            info: The sample: ``filename``, ``clip_start``, ``clip_end``.
            reason: The fault in a few words.
            size: Number of samples of the set.

        Raises:
            TooManyBadSamples: If the cap is passed; counts by reason.
        """
        edges = info.get('clip_start'), info.get('clip_end')
        key = (info['filename'], *('' if t is None else str(t) for t in edges))
        with self._lock():
            self._catch_up()
            known = self._entries.get(key)
            entry = Entry(reason, known.count + 1 if known else 1)
            with open(self.path, 'a', newline='', encoding='utf-8') as file:
                writer = csv.writer(file, lineterminator='\n')
                if file.tell() == 0:
                    writer.writerow(COLUMNS)
                writer.writerow([self.annotations, *key, entry.count, reason])
            self._catch_up()
        allowed = int(self.max_bad_fraction * size)
        if len(self._entries) > allowed:
            raise TooManyBadSamples(self._summary(key[0], size, allowed))

    def entries(self) -> dict[Key, Entry]:
        """Bad samples of this set by (path, start, end)."""
        with self._lock():
            self._catch_up()
        return dict(self._entries)

    def _lock(self) -> FileLock:
        """The lock; a run without a bad sample makes no folder."""
        mkdir_or_exist(os.path.dirname(self.path))
        return FileLock(f'{self.path}.lock')

    def _catch_up(self) -> None:
        """Read the lines that were added since the last time."""
        if not os.path.exists(self.path):
            self._entries, self._offset = {}, 0
            return
        if os.path.getsize(self.path) < self._offset:  # it was emptied
            self._entries, self._offset = {}, 0
        with open(self.path, newline='', encoding='utf-8') as file:
            file.seek(self._offset)
            for cells in csv.reader(iter(file.readline, '')):
                # Lines that a crash cut off or an editor left are no entries.
                if len(cells) == len(COLUMNS) and cells[0] == self.annotations:
                    *key, count, reason = cells[1:]
                    if count.isdecimal():
                        self._entries[tuple(key)] = Entry(reason, int(count))
            self._offset = file.tell()

    def _summary(self, latest: str, size: int, allowed: int) -> str:
        reasons = Counter(entry.reason for entry in self._entries.values())
        lines = [f'{n} x {reason}' for reason, n in reasons.most_common()]
        return (
            f"{len(self._entries)} of {size} samples of '{self.annotations}' "
            f'cannot be used; max_bad_fraction={self.max_bad_fraction} allows '
            f'{allowed}. By reason: {"; ".join(lines)}. The latest is '
            f"'{latest}'; all are listed in "
            f"'{self.path}': replace these files or take their lines out of "
            'the annotation file, then delete the list and start again.'
        )


def substitutes(index: int, size: int) -> Iterator[int]:
    """All other indices, in an order that the index alone decides.

    So the substitute of a sample is the same in every worker, process and
    epoch.

    >>> sorted(substitutes(1, 4)), list(substitutes(0, 1))
    ([0, 2, 3], [])

    Args:
        index: Index of the bad sample.
        size: Number of samples of the set.
    """
    for other in np.random.default_rng([index, size]).permutation(size):
        if other != index:
            yield int(other)


def marked_unreadable(sample: dict, info: dict, reason: str) -> dict:
    """An empty sample that keeps the place of a bad one in evaluation.

    Its inputs are zeros, its label and ``filename`` its own, and the meta
    key ``unreadable`` gives the reason: metrics, figures and other readers
    of predictions leave it out.

    Args:
        sample: A packed sample that lends its shapes; changed.
        info: What the annotation says of the bad sample.
        reason: The fault in a few words.
    """
    element = sample['data_samples']
    if 'label' in info:
        element.set_gt_label(info['label'])
    element.set_metainfo(
        dict(
            filename=info['filename'],
            clip_id=info.get('clip_id'),
            unreadable=reason,
        )
    )
    return dict(sample, inputs=_zeros(sample['inputs']))


def _zeros(inputs: Any) -> Any:
    """Zeros in the shapes of a tensor, a stream, or a dict of them."""
    if isinstance(inputs, dict):
        return {name: _zeros(value) for name, value in inputs.items()}
    if isinstance(inputs, Stream):
        return inputs.map(torch.zeros_like)
    return torch.zeros_like(inputs)
