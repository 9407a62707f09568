# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Whether an exported file says what the model says."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from mmaction.structures import ActionDataSample
from torch import Tensor, nn

from ca2st_mm.apis.recognizer import head_output

from .formats import Run
from .graph import FRAMES, LOGITS, GraphInput, streams_of


class Comparison(NamedTuple):
    """One output of the file compared with the model's, over one batch.

    ``difference`` is the largest of all logits, NaN if either has one;
    ``agreement`` the part of the views whose best class is the same.

    Example:
        >>> Comparison(3, 'logits', difference=2e-6, agreement=1).passes(1e-4)
        True
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
    inputs: Sequence[GraphInput],
    batches: Sequence[int],
    seed: int = 0,
) -> Iterator[Comparison]:
    """Run file and model on the same random views.

    The model takes its ordinary way, through its own data preprocessor with
    frames as bytes, so that whatever the export did is compared.

    Args:
        recognizer: The model, in eval mode.
        run: The exported file, as :meth:`TorchExportFile.read` returns it.
        inputs: What it takes.
        batches: Numbers of views to try.
        seed: Of the random views.
    """
    for views in batches:
        drawn = [one.draw(views, seed + views) for one in inputs]
        expected = _expected(recognizer, inputs, drawn)
        found = run(drawn)
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
    inputs: Sequence[GraphInput],
    drawn: Sequence[Tensor],
) -> Mapping[str, Tensor]:
    """Logits of samples of one view each, as a test computes them."""
    packed = {
        one.name: [
            # As the pipeline packs a sample: (1 view, ...).
            (row.byte() if one.meaning == FRAMES else row)[None]
            for row in batch
        ]
        for one, batch in zip(inputs, drawn, strict=True)
    }
    if hasattr(recognizer.data_preprocessor, 'preprocessors'):
        values = streams_of(packed)
    else:
        [values] = packed.values()
    samples = [ActionDataSample() for _ in drawn[0]]
    data = recognizer.data_preprocessor(
        dict(inputs=values, data_samples=samples)
    )
    scores = head_output(recognizer, data['inputs'])
    return scores if isinstance(scores, Mapping) else {LOGITS: scores}
