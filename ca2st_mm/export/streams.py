# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which tensors a recognizer takes, in which order and of which shape."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ca2st_mm.apis.samples import dataset_of
from ca2st_mm.models.backbones import MultiExpertBackbone, TransformerExpert


class ExportError(ValueError):
    """A model cannot be exported; the message says why."""


class Kind(NamedTuple):
    """What the numbers of a stream are.

    ``draw`` makes random ones of a shape, first dimension the views.
    """

    meaning: str
    draw: Callable[[Sequence[int], torch.Generator], Tensor]


def _draw_frames(shape: Sequence[int], source: torch.Generator) -> Tensor:
    return torch.randint(0, 256, shape, generator=source).float()


def _draw_spectrograms(
    shape: Sequence[int], source: torch.Generator
) -> Tensor:
    # About the mean and the spread of AudioSet's log-mel values.
    return 4.5 * torch.randn(shape, generator=source) - 4.3


def _draw_times(shape: Sequence[int], source: torch.Generator) -> Tensor:
    start = 10 * torch.rand(shape[0], 1, generator=source)
    return start + torch.linspace(0, 5, shape[1])


def _draw_presence(shape: Sequence[int], source: torch.Generator) -> Tensor:
    return 1.0 - torch.arange(shape[0]) % 2


FRAMES = Kind(
    'frames as the test pipeline packs them: channels, frames, height, width; '
    'RGB, 0 to 255, not normalised',
    _draw_frames,
)
SPECTROGRAM = Kind(
    'log-mel spectrogram as the test pipeline packs it: channel, frames, mel '
    'bands; not normalised',
    _draw_spectrograms,
)
FRAME_TIMES = Kind('when each frame is shown, in seconds', _draw_times)
WINDOW = Kind('start and end of the spectrogram, in seconds', _draw_times)
PRESENT = Kind(
    '1, or 0 for a view that lacks this stream, whose values are then '
    'without effect',
    _draw_presence,
)


class Stream(NamedTuple):
    """An input of an exported model.

    ``shape`` is that of one view; a batch is (views, *shape), float32.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind

    def draw(self, views: int, seed: int) -> Tensor:
        """Random values (views, *shape), float32, the same for a seed."""
        source = torch.Generator().manual_seed(seed)
        return self.kind.draw((views, *self.shape), source)


def streams_of(recognizer: nn.Module, config: Config) -> list[Stream]:
    """The streams that a recognizer reads, in the order the config packs.

    Args:
        recognizer: A recognizer over a multi-expert backbone or one expert.
        config: Its whole config.

    Raises:
        ExportError: If the backbone is of another kind, an expert does not
            say what it reads, or the pipeline leaves a stream out.
        ValueError: If the config has no test pipeline.
    """
    known = known_streams(recognizer.backbone)
    parts = getattr(recognizer.data_preprocessor, 'preprocessors', known)
    packed = _packed_keys(config) or [key for key in parts if key in known]
    # Presence factors are optional: a model without them assumes all is there.
    needed = [key for key in known if not key.endswith('_present')]
    if missing := [key for key in needed if key not in packed]:
        raise ExportError(
            f'the model reads {missing}, but the test pipeline packs '
            f"{packed}; add them to PackActionInputs' collect_keys"
        )
    return [
        known[key] for key in packed if key in known and stem_of(key) in parts
    ]


def stem_of(key: str) -> str:
    """The stream that a key is a part of: 'imgs' for 'imgs_times'."""
    return key.removesuffix('_times').removesuffix('_present')


def known_streams(backbone: nn.Module) -> dict[str, Stream]:
    """Every stream that a backbone can read, by name.

    Raises:
        ExportError: If it is no backbone of this package, or an expert does
            not say what it reads.
    """
    if isinstance(backbone, TransformerExpert):
        shape = _input_shape(backbone)
        return {s.name: s for s in [_content(_lone_stream(shape), shape)]}
    if not isinstance(backbone, MultiExpertBackbone):
        raise ExportError(
            f'{type(backbone).__name__} is neither an expert of this package '
            'nor a MultiExpertBackbone; only these say what they read'
        )
    streams: dict[str, Stream] = {}
    for name, stream in backbone.inputs.items():
        content = _content(stream, _input_shape(backbone.experts[name]))
        if streams.setdefault(stream, content) != content:
            raise ExportError(
                f'the experts want {stream!r} in the shapes '
                f'{streams[stream].shape} and {content.shape}'
            )
    for content in list(streams.values()):
        stream = content.name
        if stream in backbone.encoder_of:
            streams[f'{stream}_times'] = _times(content)
        present = Stream(f'{stream}_present', (), PRESENT)
        streams[present.name] = present
    return streams


def _input_shape(expert: Any) -> tuple[int, ...]:
    shape = getattr(expert, 'input_shape', None)
    if shape is None:
        raise ExportError(
            f'{type(expert).__name__} does not say the shape of its input; '
            'set self.input_shape to that of one clip, e.g. (3, 16, 224, 224)'
        )
    return tuple(shape)


def _lone_stream(shape: tuple[int, ...]) -> str:
    return 'imgs' if len(shape) == 4 else 'audios'


def _content(stream: str, shape: tuple[int, ...]) -> Stream:
    return Stream(stream, shape, FRAMES if len(shape) == 4 else SPECTROGRAM)


def _times(content: Stream) -> Stream:
    name = f'{content.name}_times'
    if content.kind is FRAMES:
        return Stream(name, (content.shape[1],), FRAME_TIMES)
    return Stream(name, (2,), WINDOW)


def _packed_keys(config: Config) -> list[str]:
    """Keys that the test pipeline packs; none if it leaves that open."""
    for step in reversed(dataset_of(config)['pipeline']):
        if step['type'] == 'PackAudioVisual':
            names = step.get('streams', ('imgs', 'audios'))
            packed = [
                name + suffix for suffix in ('', '_times') for name in names
            ]
            # Frames are always there.
            return packed + ['audios_present'] * ('audios' in names)
        if step['type'] == 'PackActionInputs' and 'collect_keys' in step:
            return list(step['collect_keys'])
    return []
