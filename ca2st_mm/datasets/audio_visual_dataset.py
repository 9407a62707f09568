# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The dataset of clips with picture and sound."""

import os.path as osp
from typing import Callable, Dict, List, Mapping, Optional, Union

import numpy as np
from mmaction.datasets import BaseActionDataset

from ca2st_mm.datasets.manifest import read_annotations
from ca2st_mm.registry import DATASETS
from ca2st_mm.utils.class_names import (
    ByColumn,
    agreed_num_classes,
    resolve_class_names,
)

_LABELS = ('label', 'verb', 'noun')


@DATASETS.register_module()
class AudioVisualDataset(BaseActionDataset):
    """Clips with picture, sound and a label, from one annotation file.

    The annotation file is a CSV manifest whose header names its columns:

    - ``file`` (required): the video, relative to ``data_prefix['video']``;
    - ``audio``: a separate sound file, relative to
      ``data_prefix['audio']``; where empty, sound comes from ``file``;
    - ``start``, ``end``: the clip inside an untrimmed file, in seconds;
    - ``label``, or ``verb`` and ``noun``: class indices from 0.

    Further columns may follow.  MMAction2's lists (``path label`` on each
    line, no header) are read as well; which of the two it is shows in the
    first line.

    Each sample holds ``filename``, ``audio_path`` (None: same file),
    ``clip_start`` and ``clip_end`` (seconds or None) and ``label``: an
    int, or for verb and noun an int64 array (2,) in this order, which
    ``PackActionInputs`` turns into ``gt_label`` = LongTensor([verb, noun]).

    Args:
        ann_file: The annotation file, relative to ``data_root``.
        pipeline: The data transforms.
        data_prefix: Folders of ``video`` and ``audio`` files.
        num_classes: Number of classes, or
            ``dict(verb=..., noun=...)``; labels are checked against it.
        classes: Class names, or a text file with one a line (relative to
            ``data_root``), or one of these for each of ``verb`` and
            ``noun``; becomes ``metainfo['classes']`` and stands in for
            ``num_classes``.
        test_mode: Whether this is a validation or test set.
        **kwargs: Further arguments of ``BaseActionDataset``.

    Raises:
        ValueError: If the annotation file is not understood or a label is
            out of range (names the file, the line and the value), or if
            there are not ``num_classes`` class names.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: List[Union[dict, Callable]],
        data_prefix: Optional[Dict[str, str]] = None,
        num_classes: Union[int, Mapping[str, int], None] = None,
        classes: Optional[ByColumn] = None,
        test_mode: bool = False,
        **kwargs,
    ) -> None:
        if classes is not None:
            root = kwargs.get('data_root') or ''
            classes = resolve_class_names(classes, root)
            num_classes = agreed_num_classes(classes, num_classes)
            metainfo = dict(kwargs.pop('metainfo', None) or {})
            kwargs['metainfo'] = dict(metainfo, classes=classes)
        self.label_sizes = _label_sizes(num_classes)
        super().__init__(
            ann_file,
            pipeline=pipeline,
            data_prefix=dict(video='', audio='') | dict(data_prefix or {}),
            num_classes=num_classes,
            test_mode=test_mode,
            **kwargs,
        )

    def load_data_list(self) -> List[dict]:
        """Read the annotation file.

        Returns:
            One dict a clip, as the class docstring says.
        """
        return [
            dict(
                filename=osp.join(self.data_prefix['video'], row['file']),
                audio_path=self._audio_path(row['audio']),
                clip_start=row['start'],
                clip_end=row['end'],
                label=row['label'],
            )
            for row in read_annotations(self.ann_file, self.label_sizes)
        ]

    def get_data_info(self, idx: int) -> dict:
        """One sample; see the class docstring.

        Args:
            idx: Index of the sample.
        """
        info = super().get_data_info(idx)
        if isinstance(info['label'], list):
            info['label'] = np.asarray(info['label'], dtype=np.int64)
        return info

    def _audio_path(self, name: Optional[str]) -> Optional[str]:
        return name and osp.join(self.data_prefix['audio'], name)


def _label_sizes(
    num_classes: Union[int, Mapping[str, int], None],
) -> Dict[str, Optional[int]]:
    """Number of classes by label column.

    Raises:
        ValueError: If a key is no label column.
    """
    if not isinstance(num_classes, Mapping):
        return dict(label=num_classes)
    unknown = set(num_classes) - set(_LABELS)
    if unknown:
        raise ValueError(
            f'num_classes has the unknown keys {sorted(unknown)}; the label '
            f'columns are {_LABELS}.'
        )
    return dict(num_classes)
