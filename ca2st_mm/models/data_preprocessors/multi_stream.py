# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Preprocessing of batches with several input streams."""

from collections.abc import Mapping

from mmaction.models.data_preprocessors import MultiModalDataPreprocessor

from ca2st_mm.registry import MODELS


@MODELS.register_module()
class MultiStreamDataPreprocessor(MultiModalDataPreprocessor):
    """MMAction2's ``MultiModalDataPreprocessor`` that blends all streams.

    MMAction2 blends (mixup, cutmix) inside the preprocessor of one stream:
    the label then changes while the other streams keep one clip.  Here the
    streams are normalised first and blended together.

    Args:
        preprocessors: Config of each stream's preprocessor, by stream.
        blending: Config of a :class:`MultiStreamBlending`; None for none.

    Raises:
        ValueError: If a stream blends by itself.
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

    def set_classes(self, sizes: Mapping[str, int]) -> None:
        """Tell the blending, if any, the numbers of classes of the head.

        Args:
            sizes: Number of classes by task, in the order of the label.

        Raises:
            ValueError: If the blending has others.
        """
        if self.blending is not None:
            self.blending.set_classes(sizes)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise every stream; in training, blend them.

        Args:
            data: Batch with ``inputs`` {stream: list of (views, ...)} and
                ``data_samples``.
            training: Whether this is a training step.

        Returns:
            The batch, with streams (B, views, ...).
        """
        data = super().forward(data, training)
        if training and self.blending is not None:
            data['inputs'], data['data_samples'] = self.blending(
                data['inputs'], data['data_samples']
            )
        return data
