# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A recognizer as one function of tensors: what it takes, and its trace."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmaction.models.data_preprocessors import ActionDataPreprocessor
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ca2st_mm.models.backbones import MultiExpertBackbone, TransformerExpert
from ca2st_mm.structures import PRESENT, TIMES, Stream
from ca2st_mm.utils.errors import UsageError

# Output of a head with one classifier.
LOGITS = 'logits'
# A trace of one view would take the 1 for a constant.
TRACED_VIEWS = 2

# What the numbers of an input are.
FRAMES = (
    'frames as the test pipeline packs them: channels, frames, height, width; '
    'RGB, 0 to 255, not normalised'
)
SPECTROGRAM = (
    'log-mel spectrogram as the test pipeline packs it: channel, frames, mel '
    'bands; not normalised'
)
FRAME_TIMES = 'when each frame is shown, in seconds'
WINDOW = 'start and end of the spectrogram, in seconds'
PRESENCE = (
    '1, or 0 for a view that lacks this stream, whose values are then '
    'without effect'
)


class GraphInput(NamedTuple):
    """An input tensor of an exported model.

    Attributes:
        name: ``<stream>``, ``<stream>_times`` or ``<stream>_present``.
        shape: Of one view; a batch is (views, ...), float32.
        meaning: What the numbers are.

    Example:
        >>> GraphInput('imgs', (3, 2, 8, 8), FRAMES).draw(4, seed=0).shape
        torch.Size([4, 3, 2, 8, 8])
    """

    name: str
    shape: tuple[int, ...]
    meaning: str

    def draw(self, views: int, seed: int) -> Tensor:
        """Random values (views, ...), float32, the same for a seed."""
        source = torch.Generator().manual_seed(seed)
        shape = views, *self.shape
        if self.meaning == FRAMES:
            return torch.randint(0, 256, shape, generator=source).float()
        if self.meaning == SPECTROGRAM:
            # About the mean and the spread of AudioSet's log-mel values.
            return 4.5 * torch.randn(shape, generator=source) - 4.3
        if self.meaning == PRESENCE:
            return 1.0 - torch.arange(views) % 2
        start = 10 * torch.rand(views, 1, generator=source)
        return start + torch.linspace(0, 5, shape[1])


def streams_of(values: Mapping[str, Any]) -> dict[str, Stream]:
    """Values by the names of :class:`GraphInput` as streams."""
    return {
        name: Stream(
            value, values.get(name + TIMES), values.get(name + PRESENT)
        )
        for name, value in values.items()
        if not name.endswith((TIMES, PRESENT))
    }


def inputs_of(recognizer: nn.Module) -> list[GraphInput]:
    """The tensors that a recognizer reads.

    Args:
        recognizer: A recognizer over a multi-expert backbone or one expert.

    Returns:
        The values of all streams, then their times where an encoder reads
        them, then the presence of audio next to other streams.

    Raises:
        UsageError: If the backbone is of another kind, or an expert does not
            say what it reads.
    """
    backbone = recognizer.backbone
    if isinstance(backbone, TransformerExpert):
        return [_values_of(backbone)]
    if not isinstance(backbone, MultiExpertBackbone):
        raise UsageError(
            f'{type(backbone).__name__} is neither an expert of this package '
            'nor a MultiExpertBackbone; only these say what they read'
        )
    streams: dict[str, GraphInput] = {}
    for expert, name in backbone.inputs.items():
        values = _values_of(backbone.experts[expert])._replace(name=name)
        if streams.setdefault(name, values) != values:
            raise UsageError(
                f'the experts want {name!r} in the shapes '
                f'{streams[name].shape} and {values.shape}'
            )
    times, presence = [], []
    for name, values in streams.items():
        if name in backbone.encoder_of:
            is_video = values.meaning == FRAMES
            shape = values.shape[1:2] if is_video else (2,)
            meaning = FRAME_TIMES if is_video else WINDOW
            times.append(GraphInput(name + TIMES, shape, meaning))
        if values.meaning == SPECTROGRAM and len(streams) > 1:
            presence.append(GraphInput(name + PRESENT, (), PRESENCE))
    return [*streams.values(), *times, *presence]


def _values_of(expert: nn.Module) -> GraphInput:
    """What an expert alone reads."""
    shape = getattr(expert, 'input_shape', None)
    if shape is None:
        raise UsageError(
            f'{type(expert).__name__} does not say the shape of its input; '
            'set self.input_shape to that of one clip, e.g. (3, 16, 224, 224)'
        )
    if len(shape) == 4:
        return GraphInput('imgs', tuple(shape), FRAMES)
    return GraphInput('audios', tuple(shape), SPECTROGRAM)


class Normalisation(nn.Module):
    """What the data preprocessor does to one input, as a module.

    Args:
        preprocessor: Of this stream; None for times and presence.
        dtype: Type of the result.

    Raises:
        UsageError: If the preprocessor is of another class.
    """

    def __init__(
        self, preprocessor: nn.Module | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        if preprocessor is None:
            preprocessor = ActionDataPreprocessor()
        if type(preprocessor) is not ActionDataPreprocessor:
            raise UsageError(
                f'{type(preprocessor).__name__} is not exported; use an '
                'ActionDataPreprocessor for every stream'
            )
        if preprocessor.to_rgb:
            raise UsageError(
                'to_rgb=True is not exported; read RGB frames instead'
            )
        self.dtype = dtype
        mean = getattr(preprocessor, 'mean', torch.zeros(()))
        std = getattr(preprocessor, 'std', torch.ones(()))
        self.register_buffer('mean', mean.clone())
        self.register_buffer('std', std.clone())

    def forward(self, values: Tensor) -> Tensor:
        """Normalise (views, ...) in float32, then cast."""
        return ((values - self.mean) / self.std).to(self.dtype)


class _CastTo(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


class ExportableRecognizer(nn.Module):
    """Raw inputs in, logits of every view out; the normalisation inside.

    One row is one view; averaging views is left to the caller.  Inputs and
    outputs are float32 whatever the type of the weights.  The recognizer is
    copied, not changed.

    Args:
        recognizer: A recognizer over a multi-expert backbone or one expert.
        inputs: What it takes, in this order; see :func:`inputs_of`.
        dtype: Type of weights and arithmetic. Clock times are encoded in
            float32 all the same, since half precision cannot tell frames
            of a long video apart.

    Raises:
        UsageError: If a part of it has no exportable form.
    """

    def __init__(
        self,
        recognizer: nn.Module,
        inputs: Sequence[GraphInput],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if hasattr(recognizer.cls_head, 'consensus'):
            raise UsageError(
                f'{type(recognizer.cls_head).__name__} averages views inside '
                'the head and is not exported; use a TimeSformerHead'
            )
        self.names = [one.name for one in inputs]
        recognizer = copy.deepcopy(recognizer).eval().requires_grad_(False)
        whole = recognizer.data_preprocessor
        by_stream = getattr(whole, 'preprocessors', {self.names[0]: whole})
        self.normalisations = nn.ModuleList(
            Normalisation(
                by_stream[one.name] if one.name in by_stream else None,
                torch.float32 if one.name.endswith(TIMES) else dtype,
            )
            for one in inputs
        )
        self.backbone = recognizer.backbone.to(dtype)
        encoders = getattr(self.backbone, 'time_encoders', {})
        for name, encoder in encoders.items():
            encoders[name] = nn.Sequential(encoder.float(), _CastTo(dtype))
        self.head = recognizer.cls_head.to(dtype)

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Classify views.

        Args:
            *inputs: (views, ...), float32, in the order of ``names``.

        Returns:
            ``logits`` (views, num_classes), or ``verb`` and ``noun``.
        """
        normalised = [
            normalise(values)
            for normalise, values in zip(
                self.normalisations, inputs, strict=True
            )
        ]
        if isinstance(self.backbone, MultiExpertBackbone):
            named = dict(zip(self.names, normalised, strict=True))
            features = self.backbone(**streams_of(named))
        else:
            features = self.backbone(*normalised)
        scores = self.head(features)
        if not isinstance(scores, Mapping):
            scores = {LOGITS: scores}
        return {task: score.float() for task, score in scores.items()}


def trace(
    module: nn.Module, inputs: Sequence[GraphInput], device: str = 'cpu'
) -> ExportedProgram:
    """Trace a module over its inputs; the number of views stays free.

    Args:
        module: An :class:`ExportableRecognizer`.
        inputs: What it takes.
        device: Where it runs, and where the program will.
    """
    example = tuple(one.draw(TRACED_VIEWS, 0).to(device) for one in inputs)
    views = Dim('views', min=1)
    with torch.no_grad():
        return torch.export.export(
            module.to(device),
            example,
            dynamic_shapes=(tuple({0: views} for _ in inputs),),
            strict=False,
        )
