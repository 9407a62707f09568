# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""``VisualizationHook`` of MMAction2 for streams, views, verbs and nouns."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from mmaction.engine import hooks
from mmaction.structures import ActionDataSample
from mmengine.structures import LabelData
from torch import Tensor

from ca2st_mm.evaluation.clip_metrics import is_readable, scores_of
from ca2st_mm.registry import HOOKS
from ca2st_mm.structures import Stream

TASKS = ('verb', 'noun')
READABLE = 224  # pixels of the short side, so that the text fits


# MMAction2 1.2.0's takes inputs of the shape (C, T, H, W) only, which none of
# its pipelines packs, and gives its visualizer an argument and labels that
# it does not know, so this takes its place in the registry.
@HOOKS.register_module(force=True)
class VisualizationHook(hooks.VisualizationHook):
    """Draw predictions in validation and test, in training runs, too.

    The first view of each drawn clip: its frames, or its spectrogram where
    the model takes audio alone, with true and best class.  Unreadable clips
    are left out.

    Args:
        enable: Whether to draw.
        interval: Draw every n-th clip.
        show: Whether to show the frames in a window.
        out_dir: Folder for the frames; None: the backends of the visualizer.
        kwargs: Options of ``ActionVisualizer.add_datasample``.

    Example:
        >>> default_hooks = dict(visualization=dict(
        ...     type='VisualizationHook', enable=True, out_dir='drawn'))
    """

    def __init__(
        self,
        enable: bool = False,
        interval: int = 5000,
        show: bool = False,
        out_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(enable, interval, show, out_dir, **kwargs)
        self.draw_args = dict(kwargs, show_frames=show)

    def _draw_samples(
        self,
        batch_idx: int,
        data_batch: dict,
        data_samples: Sequence[ActionDataSample],
        step: int = 0,
    ) -> None:
        if not self.enable:
            return
        if batch_idx == 0:
            self._seen = 0
        start, self._seen = self._seen, self._seen + len(data_samples)
        for number, sample in enumerate(data_samples, start):
            if number % self.interval or not is_readable(sample):
                continue
            file = sample.get('filename') or sample.get('frame_dir') or ''
            name = sample.get('clip_id') or PurePath(file).name or number
            options = dict(self.draw_args)
            if self.out_dir is not None:
                options['out_path'] = self.file_client.join_path(
                    self.out_dir, f'{name}_{number}'
                )
            frames = drawable_frames(data_batch['inputs'], number - start)
            if 'target_resolution' not in options:
                enlarged = max(1, READABLE / min(frames.shape[1:3]))
                options.setdefault('rescale_factor', enlarged)
            meta = self._visualizer.dataset_meta or {}
            if isinstance(meta.get('classes'), Mapping):
                # Verbs and nouns in one list, as the visualizer wants.
                names = [name for t in TASKS for name in meta['classes'][t]]
                self._visualizer.dataset_meta = dict(meta, classes=names)
            self._visualizer.add_datasample(
                f'{name}_{number}',
                video=frames,
                data_sample=_drawable_labels(sample),
                step=step,
                **options,
            )


def drawable_frames(inputs: Any, index: int) -> np.ndarray:
    """Frames of one clip of a batch, (T, H, W, 3), uint8.

    An entry of the batch, or of one of its streams, is (C, T, H, W),
    (C, H, W) or (views, C, ...).
    """
    if isinstance(inputs, Mapping):
        inputs = inputs.get('imgs', next(iter(inputs.values())))
    if isinstance(inputs, Stream):
        inputs = inputs.values
    clip = torch.as_tensor(inputs[index])
    if clip.ndim == 5:  # views of videos
        clip = clip[0]
    elif clip.ndim == 3 or clip.shape[0] not in (1, 3):  # image, or several
        clip = clip.reshape(-1, *clip.shape[-3:])[:1].transpose(0, 1)
    if clip.dtype != torch.uint8:  # a spectrogram, or frames of a test
        low, high = clip.min(), clip.max()
        clip = (255 * (clip - low) / (high - low).clamp_min(1e-6)).byte()
    return clip.expand(3, *clip.shape[1:]).permute(1, 2, 3, 0).numpy().copy()


def _drawable_labels(sample: ActionDataSample) -> ActionDataSample:
    """True and best class under the names that the visualizer reads."""
    tasks = TASKS if 'pred_verb_score' in sample else (None,)
    keys = [f'pred_{task}_score' if task else 'pred_score' for task in tasks]
    scores = [scores_of(sample.to_dict(), key) for key in keys]
    starts = np.cumsum([0, *(len(s) for s in scores[:-1])])
    best = [
        s.argmax() + start for s, start in zip(scores, starts, strict=True)
    ]
    drawn = ActionDataSample()
    drawn.pred_labels = LabelData(
        item=torch.tensor(best), score=torch.from_numpy(np.concatenate(scores))
    )
    label = sample.get('gt_label')
    if isinstance(label, Tensor) and label.numel() == len(starts):
        drawn.set_gt_label(label.cpu() + torch.from_numpy(starts))
        drawn.gt_labels = LabelData(item=drawn.gt_label)
    return drawn
