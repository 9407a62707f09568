# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Preprocessing of batches with several input streams."""

from collections.abc import Mapping, Sequence

import torch
from mmaction.models.data_preprocessors import MultiModalDataPreprocessor
from torch import Tensor

from ca2st_mm.registry import MODELS
from ca2st_mm.structures import Stream, as_streams


@MODELS.register_module()
class MultiStreamDataPreprocessor(MultiModalDataPreprocessor):
    """Stacks and normalises every stream, and blends all of them together.

    MMAction2 blends (mixup, cutmix) inside the preprocessor of one stream:
    the label then changes while the other streams keep one clip.  Here the
    streams are normalised first and blended with one draw.  Clock times and
    presence are stacked as they are, in float32.

    Args:
        preprocessors: Config of the preprocessor of each stream's values.
        blending: Config of a :class:`MultiStreamBlending`; None for none.

    Raises:
        ValueError: If a stream blends by itself.

    Example:
        >>> import torch
        >>> from ca2st_mm.structures import Stream
        >>> part = dict(type='ActionDataPreprocessor', format_shape='NCTHW',
        ...             mean=[0.5] * 3, std=[0.5] * 3)
        >>> preprocess = MultiStreamDataPreprocessor(dict(imgs=part))
        >>> clips = [torch.ones(1, 3, 2, 8, 8), torch.zeros(1, 3, 2, 8, 8)]
        >>> batch = dict(inputs=dict(imgs=Stream(clips)), data_samples=[])
        >>> preprocess(batch)['inputs']['imgs'].values.mean((1, 2, 3, 4, 5))
        tensor([ 1., -1.])
    """

    def __init__(
        self,
        preprocessors: Mapping[str, dict],
        blending: dict | None = None,
    ) -> None:
        super().__init__(preprocessors)
        alone = [
            name
            for name, part in self.preprocessors.items()
            if getattr(part, 'blending', None) is not None
        ]
        if alone:
            raise ValueError(
                f'the streams {alone} blend by themselves, each with its own '
                'draw and without the others; move blending to '
                'MultiStreamDataPreprocessor'
            )
        self.blending = None if blending is None else MODELS.build(blending)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise every stream; in training, blend them.

        Args:
            data: Batch with ``inputs`` {name: stream whose parts are lists
                of one tensor (views, ...) a sample} and ``data_samples``.
            training: Whether this is a training step.

        Returns:
            The batch, with streams of tensors (B, views, ...).

        Raises:
            KeyError: If a stream has no preprocessor.
            ValueError: If some samples lack times or presence.
        """
        data = self.cast_data(data)
        samples, streams = data['data_samples'], {}
        for name, stream in as_streams(data['inputs']).items():
            if name not in self.preprocessors:
                raise KeyError(
                    f'the pipeline packs the stream {name!r}, but '
                    f'preprocessors has {list(self.preprocessors)}; add it '
                    'there, or do not pack it'
                )
            values, samples = self.preprocessors[name].preprocess(
                list(stream.values), samples, training
            )
            streams[name] = Stream(
                values,
                _stack(stream.times, f'times of {name}'),
                _stack(stream.present, f'presence of {name}'),
            )
        if training and self.blending is not None:
            streams, samples = self.blending(streams, samples)
        return dict(data, inputs=streams, data_samples=samples)


def _stack(parts: Sequence[Tensor | None] | None, what: str) -> Tensor | None:
    """One tensor a sample -> one, float32; None if no sample has one."""
    if parts is None or all(part is None for part in parts):
        return None
    if any(part is None for part in parts):
        raise ValueError(
            f'only some samples of a batch have the {what}; all samples must '
            'go through the same steps'
        )
    return torch.stack(list(parts)).float()
