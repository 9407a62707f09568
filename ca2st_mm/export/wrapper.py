# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A recognizer as one function of tensors, and its trace."""

import copy
from collections.abc import Mapping, Sequence

import torch
from mmaction.models.data_preprocessors import ActionDataPreprocessor
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ca2st_mm.models.backbones import TransformerExpert

from .streams import FRAME_TIMES, WINDOW, ExportError, Stream

# Output of a head with one classifier.
LOGITS = 'logits'
# A trace of one view would take the 1 for a constant.
TRACED_VIEWS = 2


class Preparation(nn.Module):
    """What the data preprocessor does to one stream, as a module.

    Args:
        preprocessor: Of this stream.
        dtype: Type of the result.

    Raises:
        ExportError: If the preprocessor is of another class.
    """

    def __init__(self, preprocessor: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        if type(preprocessor) is not ActionDataPreprocessor:
            raise ExportError(
                f'{type(preprocessor).__name__} is not exported; use an '
                'ActionDataPreprocessor for every stream'
            )
        if preprocessor.to_rgb:
            raise ExportError(
                'to_rgb=True is not exported; read RGB frames instead'
            )
        self.dtype = dtype
        mean = getattr(preprocessor, 'mean', torch.zeros(()))
        std = getattr(preprocessor, 'std', torch.ones(()))
        self.register_buffer('mean', mean.clone())
        self.register_buffer('std', std.clone())

    def forward(self, stream: Tensor) -> Tensor:
        """Normalise (views, ...) in float32, then cast."""
        return ((stream - self.mean) / self.std).to(self.dtype)


def _preprocessor_of(
    name: str, whole: nn.Module, by_stream: nn.ModuleDict | None
) -> nn.Module:
    if by_stream is None:
        return whole
    if name not in by_stream:  # times and presence are taken as they are
        return ActionDataPreprocessor()
    return by_stream[name]


class _LoneExpert(nn.Module):
    """One expert with the inputs and outputs of a backbone of several."""

    def __init__(self, expert: nn.Module, stream: str) -> None:
        super().__init__()
        self.expert, self.stream = expert, stream
        self.time_encoders = nn.ModuleDict()

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.expert(inputs[self.stream])


class _CastTo(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


class ExportableRecognizer(nn.Module):
    """Raw streams in, logits of every view out; the normalisation inside.

    One row is one view; averaging views is left to the caller.  Inputs and
    outputs are float32 whatever the type of the weights.  The recognizer is
    copied, not changed.

    Args:
        recognizer: A recognizer over a multi-expert backbone or one expert.
        streams: What it takes, in this order; see :func:`streams_of`.
        dtype: Type of weights and arithmetic. Clock times are encoded in
            float32 all the same, since half precision cannot tell frames
            of a long video apart.

    Raises:
        ExportError: If a part of it has no exportable form.
    """

    def __init__(
        self,
        recognizer: nn.Module,
        streams: Sequence[Stream],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if hasattr(recognizer.cls_head, 'consensus'):
            raise ExportError(
                f'{type(recognizer.cls_head).__name__} averages views inside '
                'the head and is not exported; use a TimeSformerHead'
            )
        self.names = [stream.name for stream in streams]
        recognizer = copy.deepcopy(recognizer).eval().requires_grad_(False)
        parts = recognizer.data_preprocessor
        by_stream = getattr(parts, 'preprocessors', None)
        clocks = (FRAME_TIMES, WINDOW)
        self.preparations = nn.ModuleList(
            Preparation(
                _preprocessor_of(stream.name, parts, by_stream),
                torch.float32 if stream.kind in clocks else dtype,
            )
            for stream in streams
        )
        backbone = recognizer.backbone
        if isinstance(backbone, TransformerExpert):
            backbone = _LoneExpert(backbone, self.names[0])
        self.backbone = backbone.to(dtype)
        for name, encoder in backbone.time_encoders.items():
            backbone.time_encoders[name] = nn.Sequential(
                encoder.float(), _CastTo(dtype)
            )
        self.head = recognizer.cls_head.to(dtype)

    def forward(self, *streams: Tensor) -> dict[str, Tensor]:
        """Classify views.

        Args:
            *streams: (views, ...), float32, in the order of ``names``.

        Returns:
            ``logits`` (views, num_classes), or ``verb`` and ``noun``.
        """
        inputs = {
            name: prepare(stream)
            for name, prepare, stream in zip(
                self.names, self.preparations, streams, strict=True
            )
        }
        scores = self.head(self.backbone(**inputs))
        if not isinstance(scores, Mapping):
            scores = {LOGITS: scores}
        return {task: score.float() for task, score in scores.items()}


def trace(
    module: nn.Module, streams: Sequence[Stream], device: str = 'cpu'
) -> ExportedProgram:
    """Trace a module over its streams; the number of views stays free.

    Args:
        module: An :class:`ExportableRecognizer`.
        streams: What it takes.
        device: Where it runs, and where the program will.
    """
    example = tuple(s.draw(TRACED_VIEWS, 0).to(device) for s in streams)
    views = Dim('views', min=1)
    with torch.no_grad():
        return torch.export.export(
            module.to(device),
            example,
            dynamic_shapes=(tuple({0: views} for _ in streams),),
            strict=False,
        )
