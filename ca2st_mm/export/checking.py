# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Whether an exported file says what the model says."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from mmaction.structures import ActionDataSample
from torch import Tensor, nn

from ca2st_mm.apis.scores import head_output

from .formats import Run
from .streams import FRAMES, Stream
from .wrapper import LOGITS


class Comparison(NamedTuple):
    """One output of the file beside the model's, over one batch.

    ``difference`` is the largest of all logits, NaN if either has one;
    ``agreement`` the part of the views whose best class is the same.
    """

    views: int
    output: str
    difference: float
    agreement: float

    def passes(self, tolerance: float) -> bool:
        """Whether the difference is within the tolerance; NaN never is."""
        return self.difference <= tolerance


def compare(
    recognizer: nn.Module,
    run: Run,
    streams: Sequence[Stream],
    batches: Sequence[int],
    seed: int = 0,
) -> Iterator[Comparison]:
    """Run file and model on the same random views.

    The model takes its ordinary way, through its own data preprocessor with
    frames as bytes, so that whatever the export did is compared.

    Args:
        recognizer: The model, in eval mode.
        run: The exported file; see :class:`Format`.
        streams: What it takes.
        batches: Numbers of views to try.
        seed: Of the random views.
    """
    for views in batches:
        inputs = [stream.draw(views, seed + views) for stream in streams]
        expected = _expected(recognizer, streams, inputs)
        found = run(inputs)
        for name, logits in expected.items():
            ours = logits.float().cpu()
            theirs = found[name].float().cpu()
            same = ours.argmax(-1) == theirs.argmax(-1)
            yield Comparison(
                views,
                name,
                (ours - theirs).abs().max().item(),
                same.float().mean().item(),
            )


@torch.no_grad()
def _expected(
    recognizer: nn.Module,
    streams: Sequence[Stream],
    inputs: Sequence[Tensor],
) -> Mapping[str, Tensor]:
    """Logits of samples of one view each, as a test computes them."""
    packed = {
        stream.name: [
            # As the pipeline packs a sample: (1 view, ...).
            (row.byte() if stream.kind is FRAMES else row)[None]
            for row in batch
        ]
        for stream, batch in zip(streams, inputs, strict=True)
    }
    alone = not hasattr(recognizer.data_preprocessor, 'preprocessors')
    samples = [ActionDataSample() for _ in range(len(inputs[0]))]
    data = recognizer.data_preprocessor(
        dict(
            inputs=packed[streams[0].name] if alone else packed,
            data_samples=samples,
        )
    )
    scores = head_output(recognizer, data['inputs'])
    return scores if isinstance(scores, Mapping) else {LOGITS: scores}
