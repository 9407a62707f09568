# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The dataset of clips with picture and sound."""

import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from typing import (
    Any,
)

import numpy as np
from mmaction.datasets import BaseActionDataset

from ca2st_mm.registry import DATASETS
from ca2st_mm.utils.class_names import (
    ByColumn,
    agreed_num_classes,
    resolve_class_names,
)

from .manifest import read_annotations
from .on_error import make_policy
from .quarantine import Quarantine
from .readers import VideoReader

_LABELS = ('label', 'verb', 'noun')


@DATASETS.register_module()
class AudioVisualDataset(BaseActionDataset):
    """Clips with picture, sound and a label, from one annotation file.

    The annotation file is a CSV manifest whose header names its columns:

    - ``file`` (required): the video, relative to ``data_prefix['video']``;
    - ``id``: the name of the clip, which submissions to a server use;
    - ``audio``: a separate sound file, relative to
      ``data_prefix['audio']``; where empty, sound comes from ``file``;
    - ``start``, ``end``: the clip inside an untrimmed file, in seconds;
    - ``label``, or ``verb`` and ``noun``: class indices from 0.  A test
      set without public labels has none of them: samples then have no
      ``label``, which suits evaluators that write a submission.

    Further columns may follow.  MMAction2's lists (``path label`` on each
    line, no header) are read as well; which of the two it is shows in the
    first line.

    Each sample holds ``clip_id`` (or None), ``filename``, ``audio_path``
    (None: same file), ``clip_start`` and ``clip_end`` (seconds or None) and
    ``label``: an int, or for verb and noun an int64 array (2,) in this
    order, which ``PackActionInputs`` turns into ``gt_label`` =
    LongTensor([verb, noun]).

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
        on_error: What a sample that cannot be used does. ``'raise'``: it
            stops the run. ``'skip'``: it is left out, and its batch is
            smaller; in evaluation it keeps its place, empty and marked, for
            the metric ``ReadableClips``. ``'substitute'`` (training only):
            another one takes its place, the same in every worker.
        max_bad_fraction: The share of bad samples, from 0 to 1, beyond
            which ``'skip'`` and ``'substitute'`` stop the run.
        quarantine: The CSV file that lists bad samples with the reason and
            how often they failed; required unless ``on_error='raise'``.
        **kwargs: Further arguments of ``BaseActionDataset``.

    Raises:
        ValueError: If the annotation file is not understood, has no labels
            although ``test_mode`` is off, or a label is out of range (names
            the file, the line and the value), if there are not
            ``num_classes`` class names, or if ``on_error`` is unknown or
            lacks its quarantine file.
        TooManyBadSamples: When samples are read, beyond the cap; counts
            them by reason.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: list[dict | Callable],
        data_prefix: dict[str, str] | None = None,
        num_classes: int | Mapping[str, int] | None = None,
        classes: ByColumn | None = None,
        test_mode: bool = False,
        on_error: str = 'raise',
        max_bad_fraction: float = 0.01,
        quarantine: str | None = None,
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
        self._on_error = make_policy(
            on_error,
            test_mode,
            quarantine
            and Quarantine(quarantine, self.ann_file, max_bad_fraction),
        )

    def load_data_list(self) -> list[dict]:
        """Read the annotation file.

        Returns:
            One dict a clip, as the class docstring says.
        """
        rows = read_annotations(self.ann_file, self.label_sizes)
        labelled = rows[0]['label'] is not None
        if not (labelled or self.test_mode):
            raise ValueError(
                f"Annotation file '{self.ann_file}' has no labels to learn: "
                "add the column 'label' (or 'verb' and 'noun'), or use it in "
                'the test_dataloader with a submission as test_evaluator.'
            )
        return [
            dict(
                clip_id=row['id'],
                filename=osp.join(self.data_prefix['video'], row['file']),
                audio_path=self._audio_path(row['audio']),
                clip_start=row['start'],
                clip_end=row['end'],
                **(dict(label=row['label']) if labelled else {}),
            )
            for row in rows
        ]

    def get_data_info(self, idx: int) -> dict:
        """One sample; see the class docstring.

        Args:
            idx: Index of the sample.
        """
        info = super().get_data_info(idx)
        if isinstance(info.get('label'), list):
            info['label'] = np.asarray(info['label'], dtype=np.int64)
        return info

    def prepare_data(self, idx: int) -> Any:
        """A sample through the pipeline; no video stays open behind it.

        Args:
            idx: Index of the sample.
        """
        info = self.get_data_info(idx)
        try:
            return self.pipeline(info)
        finally:
            reader = info.get('video_reader')
            if isinstance(reader, VideoReader):
                reader.close()

    def load_sample(self, idx: int) -> Any:
        """One sample, or the fault that it has.

        Args:
            idx: Index of the sample.

        Raises:
            SampleFault: If it cannot be used.
        """
        return super().__getitem__(idx)

    def __getitem__(self, idx: int) -> Any:
        return self._on_error.fetch(self, idx)

    def __getitems__(self, indices: Sequence[int]) -> list:
        """A batch: PyTorch's loader asks for it where a dataset has this.

        Args:
            indices: Indices of the samples.
        """
        return self._on_error.fetch_batch(self, list(indices))

    def _audio_path(self, name: str | None) -> str | None:
        return name and osp.join(self.data_prefix['audio'], name)


def _label_sizes(
    num_classes: int | Mapping[str, int] | None,
) -> dict[str, int | None]:
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
