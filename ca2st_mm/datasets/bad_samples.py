# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Samples that cannot be used: their list, the cap, and what replaces them.

:class:`~ca2st_mm.datasets.AudioVisualDataset` decides by ``on_error``; this
file holds what it needs for that.
"""

import csv
import os
from collections import Counter

import torch
from filelock import FileLock
from mmengine.utils import apply_to, mkdir_or_exist

from ca2st_mm.utils.text_files import write_texts

from .annotations import annotation_text

COLUMNS = ('annotations', 'path', 'start', 'end', 'count', 'reason')


class TooManyBadSamples(RuntimeError):
    """More samples of a set are bad than its user allows."""


class Quarantine:
    """The list of bad samples: a CSV file with a lock.

    Workers and processes, also on several machines where the file system
    carries locks, share it, so the cap counts different samples of the whole
    run.  Samples of an earlier run count as well: delete the file once they
    are repaired.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     listed = Quarantine(f'{folder}/bad.csv', 'train.csv', 0.5)
    ...     listed.add(dict(filename='a.mp4'), 'it is corrupted', size=10)
    ...     _, line = open(listed.path)
    >>> line
    'train.csv,a.mp4,,,1,it is corrupted\\n'

    Args:
        path: The CSV file; its folder is made with the first sample.
        annotations: Name of the set; samples of other sets do not count.
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

    def add(self, info: dict, reason: str, size: int) -> None:
        """Write down a failure and check the cap.

        ``info`` has ``filename``, ``clip_start`` and ``clip_end``; ``size``
        is the number of samples of the set.

        Raises:
            TooManyBadSamples: If the cap is passed; counts by reason.
        """
        edges = info.get('clip_start'), info.get('clip_end')
        edges = ('' if time is None else str(time) for time in edges)
        key = (self.annotations, info['filename'], *edges)
        mkdir_or_exist(os.path.dirname(self.path))
        with FileLock(f'{self.path}.lock'):
            rows = self._rows()
            count = int(rows[key]['count']) + 1 if key in rows else 1
            values = (*key, count, reason)
            rows[key] = dict(zip(COLUMNS, values, strict=True))
            text = annotation_text(self.path, COLUMNS, rows.values())
            write_texts({self.path: text})
        reasons = Counter(
            row['reason']
            for row in rows.values()
            if row['annotations'] == self.annotations
        )
        bad, allowed = reasons.total(), int(self.max_bad_fraction * size)
        if bad > allowed:
            lines = [f'{n} x {why}' for why, n in reasons.most_common()]
            raise TooManyBadSamples(
                f"{bad} of {size} samples of '{self.annotations}' cannot be "
                f'used; max_bad_fraction={self.max_bad_fraction} allows '
                f'{allowed}. By reason: {"; ".join(lines)}. The latest is '
                f"'{info['filename']}'; all are listed in '{self.path}': "
                'replace these files or take their lines out of the '
                'annotation file, then delete the list and start again.'
            )

    def _rows(self) -> dict[tuple, dict]:
        """All entries by annotations, path, start and end."""
        if not os.path.exists(self.path):
            return {}
        with open(self.path, newline='', encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
        # Lines that an editor left are no entries.
        return {
            tuple(row[column] for column in COLUMNS[:4]): row
            for row in rows
            if row.get('reason') and (row.get('count') or '').isdecimal()
        }


def marked_unreadable(sample: dict, info: dict, reason: str) -> dict:
    """An empty sample that keeps the place of a bad one in evaluation.

    Its inputs are zeros, its label and ``filename`` its own, and the meta
    key ``unreadable`` gives the reason: metrics, figures and other readers
    of predictions leave it out.

    ``sample`` lends its shapes and is changed; ``info`` is what the
    annotation says of the bad one.
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
    zeros = apply_to(sample['inputs'], torch.is_tensor, torch.zeros_like)
    return dict(sample, inputs=zeros)
