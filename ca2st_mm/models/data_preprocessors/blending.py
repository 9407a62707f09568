# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Mixup and cutmix of video and audio with one draw."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional as F

from ca2st_mm.registry import MODELS
from ca2st_mm.structures import Stream, as_streams


class Box(NamedTuple):
    """A rectangle in parts of height and width, each from 0 to 1."""

    top: float
    bottom: float
    left: float
    right: float

    @property
    def area(self) -> float:
        """Its part of the whole."""
        return (self.bottom - self.top) * (self.right - self.left)


@MODELS.register_module()
class MultiStreamBlending:
    """Blend every clip of a batch with a partner, all streams alike.

    A batch draws one lambda from Beta(alpha, alpha); the partner of clip i is
    clip B - 1 - i, as in the authors' training.  Frames, spectrogram and label
    take lambda of the clip and 1 - lambda of its partner: as a weighted sum
    (mixup), or, for the streams in ``cut``, by a box with 1 - lambda of the
    area that is filled from the partner (cutmix; the same relative box for
    all).  Where the border clips the box, lambda is what it leaves over.

    Clock times stay those of the clip.  Where only one of two clips has a
    stream, that one's is taken whole, with its times.  Labels become soft:
    (num_classes,), or verb and noun joined, each with sum 1.

    Source: Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV 2019.

    Args:
        num_classes: Number of classes, or ``dict(verb=..., noun=...)``; by
            default that of the head, which ``MultiExpertRecognizer`` passes.
        alpha: Parameter of the Beta distribution.
        prob: Fraction of the batches that are blended.
        cut: Streams that are cut instead of mixed.

    Example:
        >>> import torch
        >>> from mmaction.structures import ActionDataSample
        >>> samples = [ActionDataSample().set_gt_label(k) for k in (0, 2)]
        >>> blend = MultiStreamBlending(num_classes=3)
        >>> imgs = torch.zeros(2, 1, 3, 8, 32, 32)
        >>> streams, samples = blend(dict(imgs=imgs), samples)
        >>> samples[0].gt_label.shape
        torch.Size([3])
    """

    def __init__(
        self,
        num_classes: int | Mapping[str, int] | None = None,
        alpha: float = 0.8,
        prob: float = 1.0,
        cut: Sequence[str] = (),
    ) -> None:
        if isinstance(num_classes, int):
            num_classes = dict(label=num_classes)
        self.sizes = num_classes and dict(num_classes)
        # On the CPU, also where a model is built on another device.
        alpha = torch.tensor(float(alpha), device='cpu')
        self.beta = Beta(alpha, alpha)
        self.prob = prob
        self.cut = tuple(cut)

    def set_classes(self, sizes: Mapping[str, int]) -> None:
        """Take the numbers of classes of the head.

        Args:
            sizes: Number of classes by task, in the order of the label.

        Raises:
            ValueError: If ``num_classes`` was given and is another one.
        """
        if self.sizes is None:
            self.sizes = dict(sizes)
        if list(self.sizes.values()) != list(sizes.values()):
            raise ValueError(
                f'the blending makes labels of {self.sizes} classes, but the '
                f'head has {dict(sizes)}; leave num_classes of the blending '
                'out'
            )

    def __call__(
        self, inputs: Mapping[str, Stream | Tensor], data_samples: list
    ) -> tuple[dict[str, Stream], list]:
        """Blend a batch, or leave it alone.

        Args:
            inputs: Normalised streams (B, views, ...).
            data_samples: Samples with a ``gt_label``, hard or soft.

        Returns:
            New streams, and the samples with soft labels.

        Raises:
            KeyError: If a stream of ``cut`` is not in the batch.
            ValueError: If a label does not fit ``num_classes``, or that is
                not known.
        """
        streams = as_streams(inputs)
        if missing := set(self.cut) - set(streams):
            raise KeyError(
                f'cut names the streams {sorted(missing)}, but the batch has '
                f'{sorted(streams)}'
            )
        if self.sizes is None:
            raise ValueError(
                'the blending does not know the number of classes: use '
                'MultiExpertRecognizer, or give num_classes'
            )
        if torch.rand(()) >= self.prob:
            return streams, data_samples
        lam = float(self.beta.sample())
        box = random_box(lam)
        of_streams, of_label = self.weights(lam, box)
        blended = {}
        for name, stream in streams.items():
            if name in self.cut:
                values = cutmix(stream.values, box)
            else:
                values = mixup(stream.values, of_streams)
            blended[name] = _respect_presence(stream, values)
        sizes = list(self.sizes.values())
        labels = torch.stack([_soft(s.gt_label, sizes) for s in data_samples])
        labels = mixup(labels, of_label)
        for sample, label in zip(data_samples, labels, strict=True):
            sample.set_gt_label(label)
        return blended, data_samples

    def weights(self, lam: float, box: Box) -> tuple[float, float]:
        """Weight of the clip in mixed streams and in the label."""
        if self.cut:
            lam = 1.0 - box.area
        return lam, lam


@MODELS.register_module()
class ReferenceMultiStreamBlending(MultiStreamBlending):
    """Mixup of frames and cutmix of spectrograms as in the authors' code.

    There the label takes what the clipped box leaves over, but frames are
    mixed with the draw itself.  For an exact retraining only.

    Example:
        >>> blend = ReferenceMultiStreamBlending(3, cut=['audios'])
        >>> blend.weights(0.5, Box(top=0, bottom=1, left=0, right=0.25))
        (0.5, 0.75)
    """

    def weights(self, lam: float, box: Box) -> tuple[float, float]:
        """The draw for the streams, the rest of the box for the label."""
        return lam, 1.0 - box.area


def mixup(values: Tensor, lam: float) -> Tensor:
    """lam of each row and 1 - lam of its partner, (B, ...)."""
    return lam * values + (1.0 - lam) * values.flip(0)


def cutmix(values: Tensor, box: Box) -> Tensor:
    """Rows with a box of the last two dimensions from their partners."""
    height, width = values.shape[-2:]
    rows = slice(round(box.top * height), round(box.bottom * height))
    columns = slice(round(box.left * width), round(box.right * width))
    blended = values.clone()
    blended[..., rows, columns] = values.flip(0)[..., rows, columns]
    return blended


def random_box(lam: float) -> Box:
    """A box with 1 - lam of the area, anywhere, clipped at the border."""
    half = (1.0 - lam) ** 0.5 / 2
    y, x = torch.rand(2).tolist()
    return Box(
        max(y - half, 0.0),
        min(y + half, 1.0),
        max(x - half, 0.0),
        min(x + half, 1.0),
    )


def _soft(label: Tensor, sizes: Sequence[int]) -> Tensor:
    """A label as one distribution a task, joined."""
    if label.is_floating_point() and len(label) == sum(sizes):
        return label
    fits = not label.is_floating_point() and len(label) == len(sizes)
    # Looked at first: on a GPU, `one_hot` would end the process.
    if not fits or any(
        not 0 <= index < size
        for index, size in zip(label.tolist(), sizes, strict=True)
    ):
        raise ValueError(
            f'the label {label.tolist()} does not fit the classes {sizes} of '
            'the blending; num_classes must be that of the head and the '
            'annotation file'
        )
    parts = zip(label, sizes, strict=True)
    return torch.cat([F.one_hot(k, size).float() for k, size in parts])


def _respect_presence(stream: Stream, blended: Tensor) -> Stream:
    """Where only one of two clips has the stream, take that one's whole."""
    if stream.present is None:
        return stream._replace(values=blended)
    own = stream.present > 0  # (B, views)
    partner = own.flip(0)

    def choose(mixed: Tensor, source: Tensor) -> Tensor:
        shape = (*own.shape, *(1,) * (source.ndim - own.ndim))
        only_own = (own & ~partner).reshape(shape)
        only_partner = (partner & ~own).reshape(shape)
        mixed = torch.where(only_own, source, mixed)
        return torch.where(only_partner, source.flip(0), mixed)

    return Stream(
        choose(blended, stream.values),
        None if stream.times is None else choose(stream.times, stream.times),
        torch.maximum(stream.present, stream.present.flip(0)),
    )
