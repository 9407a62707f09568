# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What passes between pipelines, data preprocessors and models."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

# Results of a pipeline have them next to the values, as <stream>_times.
TIMES, PRESENT = '_times', '_present'


class Stream(NamedTuple):
    """One input stream: frames or audio, when they were, and for which clips.

    A NamedTuple, so that MMEngine collates it and moves it to a device.  A
    pipeline gives one sample (views, ...), a data preprocessor a batch
    (B, views, ...), and a backbone takes rows (B * views, ...).

    Args:
        values: The frames (..., 3, T, H, W) or the spectrogram
            (..., 1, frames, mels).
        times: Clock times in seconds: of every frame (..., T), or start and
            end of the spectrogram (..., 2).  None where they are not used.
        present: 1, or 0 for clips that lack this stream (...,).  None if all
            have it.

    Example:
        >>> import torch
        >>> audios = Stream(torch.zeros(2, 1, 128, 64), present=torch.ones(2))
        >>> audios.map(lambda part: part[:1]).present
        tensor([1.])
    """

    values: Any
    times: Any = None
    present: Any = None

    def map(self, function: Callable[[Any], Any]) -> 'Stream':
        """Apply a function to all parts that are given."""
        return Stream(
            *(None if part is None else function(part) for part in self)
        )


def as_streams(inputs: Mapping[str, Stream | Tensor]) -> dict[str, Stream]:
    """The inputs of a model as one stream each; tensors are values alone.

    Raises:
        ValueError: If a name is that of times or presence.

    Example:
        >>> import torch
        >>> as_streams(dict(imgs=torch.zeros(1, 3)))['imgs'].values.shape
        torch.Size([1, 3])
    """
    if flat := [n for n in inputs if n.endswith((TIMES, PRESENT))]:
        raise ValueError(
            f'{flat} are parts of a stream and no streams; pass '
            'Stream(values, times, present)'
        )
    return {
        name: value if isinstance(value, Stream) else Stream(value)
        for name, value in inputs.items()
    }
