# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The dataset of video clips with audio."""

import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmaction.datasets import BaseActionDataset

from ca2st_mm.registry import DATASETS
from ca2st_mm.utils.class_names import (
    ByColumn,
    resolve_class_names,
    sizes_by_column,
)
from ca2st_mm.utils.text_files import ListFileError

from .annotations import read_annotations, repeats_message
from .bad_samples import Quarantine, marked_unreadable
from .faults import SampleFault, warn
from .transforms.formatting import CANNOT_DROP, PackAudioVisual
from .video import VideoReader


@DATASETS.register_module()
class AudioVisualDataset(BaseActionDataset):
    """Video clips with audio and a label, from one annotation file.

    The annotation file is a CSV file with a header, or one of MMAction2's
    lists (``path label`` on each line).  Its columns are ``file``, and if
    wanted ``id``, ``audio`` (a separate file), ``start`` and ``end`` (the
    clip inside an untrimmed file, in seconds), and ``label``, or ``verb``
    and ``noun``: class indices from 0.  A test set without public labels has
    none of them: samples then have no ``label``, which suits evaluators that
    write a submission.  Rows that repeat a clip are reported.

    Each sample holds ``clip_id`` (or None), ``filename``, ``audio_path``
    (None: same file), ``clip_start`` and ``clip_end`` (seconds or None) and
    ``label``: an int, or for verb and noun an int64 array (2,) in this
    order, which becomes ``gt_label`` = LongTensor([verb, noun]).

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile('w', suffix='.csv') as file:
    ...     _ = file.write('file,label\\na.mp4,1\\n')
    ...     file.flush()
    ...     dataset = AudioVisualDataset(file.name, [], num_classes=2)
    >>> dataset.get_data_info(0)['filename'], dataset.get_cat_ids(0)
    ('a.mp4', [1])

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
            stops the run. ``'skip'``: its batch is smaller, or holds one
            substitute if all of it is bad; in evaluation it keeps its place,
            empty and marked, for the metric ``ReadableClips``.
            ``'substitute'`` (training only): another one takes its place,
            the same in every worker. The number of batches stays.
        max_bad_fraction: The share of bad samples, from 0 to 1, beyond
            which ``'skip'`` and ``'substitute'`` stop the run.
        quarantine: The CSV file that lists bad samples with the reason and
            how often they failed; required unless ``on_error='raise'``.
        encoding: Fallback for lists that are not UTF-8, such as ``'gbk'``.
        **kwargs: Further arguments of ``BaseActionDataset``.

    Raises:
        ListFileError: If the annotation file is not understood, has no
            labels although ``test_mode`` is off, or a label is out of range
            (names the file, the line and the value).
        ValueError: If arguments contradict each other, or
            ``LoadAudio(missing_audio='drop')`` has no effect.
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
        encoding: str | None = None,
        **kwargs,
    ) -> None:
        if on_error not in ('raise', 'skip', 'substitute'):
            raise ValueError(
                "on_error is 'raise', 'skip' or 'substitute', not "
                f'{on_error!r}.'
            )
        if on_error != 'raise' and quarantine is None:
            raise ValueError(
                f"on_error='{on_error}' needs quarantine='<file>.csv', the "
                'list of the samples that cannot be used.'
            )
        if on_error == 'substitute' and test_mode:
            raise ValueError(
                "on_error='substitute' would count some clips twice in "
                "evaluation: use on_error='skip' with test_mode=True."
            )
        self.on_error = on_error
        self.encoding = encoding
        if classes is not None:
            root = kwargs.get('data_root') or ''
            classes = resolve_class_names(classes, root, encoding)
            metainfo = dict(kwargs.pop('metainfo', None) or {})
            kwargs['metainfo'] = dict(metainfo, classes=classes)
        self.label_sizes = sizes = sizes_by_column(num_classes, classes)
        super().__init__(
            ann_file,
            pipeline=pipeline,
            data_prefix=dict(video='', audio='') | dict(data_prefix or {}),
            num_classes=sizes.get('label') or sizes or None,
            test_mode=test_mode,
            **kwargs,
        )
        steps = self.pipeline.transforms
        policies = [getattr(step, 'missing_audio', None) for step in steps]
        if 'drop' in policies and not isinstance(steps[-1], PackAudioVisual):
            raise ValueError(CANNOT_DROP)
        self.quarantine = quarantine and Quarantine(
            quarantine, self.ann_file, max_bad_fraction
        )

    def load_data_list(self) -> list[dict]:
        """One dict a clip, as the class docstring says."""
        rows = read_annotations(self.ann_file, self.label_sizes, self.encoding)
        if rows[0]['label'] is None and not self.test_mode:
            raise ListFileError(
                f"Annotation file '{self.ann_file}' has no labels to learn: "
                "add the column 'label' (or 'verb' and 'noun'), or use it in "
                'the test_dataloader with a submission as test_evaluator.'
            )
        repeats = repeats_message(
            (
                (osp.normpath(r['file']), r['audio'], r['start'], r['end']),
                r['label'],
                f"'{r['file']}' in line {r['line']}",
            )
            for r in rows
        )
        if repeats:
            warn(
                f"'{self.ann_file}': {repeats}; remove them unless they are "
                'meant.'
            )
        infos = []
        for row in rows:
            audio = row['audio']
            info = dict(
                clip_id=row['id'],
                filename=osp.join(self.data_prefix['video'], row['file']),
                audio_path=audio
                and osp.join(self.data_prefix['audio'], audio),
                clip_start=row['start'],
                clip_end=row['end'],
            )
            if row['label'] is not None:
                info['label'] = row['label']
            infos.append(info)
        return infos

    def get_data_info(self, idx: int) -> dict:
        """One sample; see the class docstring."""
        info = super().get_data_info(idx)
        if isinstance(info.get('label'), list):
            info['label'] = np.asarray(info['label'], dtype=np.int64)
        return info

    def get_cat_ids(self, idx: int) -> list:
        """Classes of a sample, for ``ClassBalancedDataset``.

        Returns:
            The class index, or ``('verb', index)`` and ``('noun', index)``.

        Raises:
            ValueError: If the set has no labels.
        """
        info = self.get_data_info(idx)
        if 'label' not in info:
            raise ValueError(
                f"'{self.ann_file}' has no labels to balance classes by; add "
                "the column 'label', or 'verb' and 'noun'."
            )
        if isinstance(info['label'], np.ndarray):
            return list(
                zip(('verb', 'noun'), info['label'].tolist(), strict=True)
            )
        return [info['label']]

    def prepare_data(self, idx: int) -> Any:
        """A sample through the pipeline; its video is closed afterwards."""
        info = self.get_data_info(idx)
        try:
            return self.pipeline(info)
        finally:
            reader = info.get('video_reader')
            if isinstance(reader, VideoReader):
                reader.close()

    def __getitem__(self, idx: int) -> Any:
        sample, fault = self._try(idx)
        if fault is None:
            return sample
        sample = self._substitute(idx, fault)
        if not self.test_mode:
            return sample
        return marked_unreadable(sample, self.get_data_info(idx), fault.reason)

    def __getitems__(self, indices: Sequence[int]) -> list:
        """A batch: PyTorch's loader asks for it where a dataset has this."""
        if self.on_error != 'skip' or self.test_mode:
            return [self[idx] for idx in indices]
        pairs = [self._try(idx) for idx in indices]
        good = [sample for sample, fault in pairs if fault is None]
        return good or [self._substitute(indices[0], pairs[0][1])]

    def _try(self, idx: int) -> tuple[Any, SampleFault | None]:
        """A sample, or why there is none, which is written down."""
        try:
            return super().__getitem__(idx), None
        except SampleFault as fault:
            if self.on_error == 'raise':
                raise
            info = self.get_data_info(idx)
            self.quarantine.add(info, fault.reason, len(self))
            return None, fault

    def _substitute(self, idx: int, fault: SampleFault) -> Any:
        """The first usable sample in an order that the index decides.

        So it is the same in every worker, process and epoch.
        """
        order = np.random.default_rng([idx, len(self)]).permutation(len(self))
        for other in order[order != idx]:
            sample, another_fault = self._try(int(other))
            if another_fault is None:
                return sample
        raise fault
