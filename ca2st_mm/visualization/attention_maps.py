# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Who looks at whom in a multi-expert model, on the grids of its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ca2st_mm.models.layers.tokens import TokenSpec
from ca2st_mm.structures import Stream, as_streams


@dataclass(frozen=True)
class AttentionMap:
    """The weights of one attention in one layer, for one clip.

    Attributes:
        layer: From 0.
        query: Name of the expert that asks.
        context: Name of the expert that answers; the same in self-attention.
        axis: Along which it looks: 'time', 'space' or 'all'.
        query_spec: Tokens of the expert that asks.
        context_spec: Tokens of the expert that answers.
        weights: As folded along the axis, rows sum to one: (Nq, Tq, Tc),
            (Tq, Nq, Nc) or (1, Tq * Nq, Tc * Nc).  In self-attention the
            extra tokens stand before the N positions of every step.
    """

    layer: int
    query: str
    context: str
    axis: str
    query_spec: TokenSpec
    context_spec: TokenSpec
    weights: Tensor

    @property
    def name(self) -> str:
        """``spatial_from_audio``, or ``spatial_self``."""
        if self.query == self.context:
            return f'{self.query}_self'
        return f'{self.query}_from_{self.context}'

    @property
    def extra(self) -> int:
        """Extra tokens that take part; links leave them out."""
        own = self.query == self.context
        return self.query_spec.num_extra_tokens if own else 0

    def heat(
        self,
        steps: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
    ) -> Tensor:
        """Where the queries look, in multiples of an even look.

        A query can look at M tokens; 1 is a weight of 1 / M.

        The mean over the queries at these steps and positions; None stands
        for all.  With neither, in self-attention of an expert with extra
        tokens (a class token) it is the mean over those, as they make its
        feature.

        Args:
            steps: Time steps of the queries.
            positions: Positions of the queries inside a step.

        Returns:
            (Tc, Nc), without extra tokens; 0 where these queries cannot
            look.
        """
        spec = self.query_spec
        if steps is None and positions is None and self.extra:
            places = list(range(self.extra))
        else:
            chosen = _or_all(positions, spec.num_positions)
            places = [self.extra + number for number in chosen]
        steps = _or_all(steps, spec.num_steps)
        shape = (
            self.context_spec.num_steps,
            self.extra + self.context_spec.num_positions,
        )
        even = self.weights * self.weights.shape[-1]
        heat = torch.zeros(shape)
        if self.axis == 'time':
            # (places, steps, Tc) -> every place keeps its own.
            heat[:, places] = even[places][:, steps].mean(1).T
        elif self.axis == 'space':
            heat[steps] = even[steps][:, places].mean(1)
        else:
            grid = even[0].unflatten(0, (spec.num_steps, -1))
            grid = grid[steps][:, places]
            heat = grid.mean((0, 1)).reshape(shape)
        return heat[:, self.extra :]

    def over_time(self, columns: int | None = None) -> Tensor | None:
        """Which moment looks at which, over all places: rows sum to one.

        Args:
            columns: Columns of a context that has its time inside one step
                (a spectrogram); None for a context with time steps.

        Returns:
            (Tq, Tc or columns); None where a moment sees itself alone.
        """
        if self.axis == 'space' or self.query_spec.num_steps == 1:
            return None
        if self.axis == 'time':
            return self.weights[self.extra :].mean(0)
        steps = self.query_spec.num_steps
        grid = self.weights[0].unflatten(0, (steps, -1))[:, self.extra :]
        grid = grid.mean(1).unflatten(1, (self.context_spec.num_steps, -1))
        grid = grid[:, :, self.extra :]  # (Tq, Tc, Nc)
        if columns is None:
            return _rows_to_one(grid.sum(2))
        return _rows_to_one(grid.unflatten(2, (-1, columns)).sum((1, 2)))


def _or_all(numbers: Sequence[int] | None, count: int) -> list[int]:
    return list(range(count) if numbers is None else numbers)


def _rows_to_one(values: Tensor) -> Tensor:
    return values / values.sum(1, keepdim=True)


def read_maps(
    model: nn.Module,
    inputs: Mapping[str, Stream | Tensor],
    layers: list[int] | None = None,
    head: int | None = None,
    experts: Sequence[str] | None = None,
) -> list[AttentionMap]:
    """Run one clip and read all attention.

    Args:
        model: A recognizer with a multi-expert backbone, in eval mode.
        inputs: Streams of one view, normalised, (1, 1, ...).
        layers: Which to read, from 0; None for all.
        head: Which head; None for the mean over heads.
        experts: Experts that run; None for all.

    Returns:
        Self-attention of each expert and both directions of each link that
        ran, by layer.  Experts that compute their attention in their own way
        (wrapped ViTs) have no self-attention here.

    Raises:
        ValueError: If there is more than one view, or no such layer or head.
    """
    values = [stream.values for stream in as_streams(inputs).values()]
    if any(tuple(x.shape[:2]) != (1, 1) for x in values):
        raise ValueError('attention is read from one view of one clip')
    with torch.no_grad():
        out, _ = model.extract_feat(
            inputs,
            test_mode=True,
            return_attention=layers or True,
            attention_head=head,
            experts=experts,
        )
    specs = {
        name: expert.token_spec
        for name, expert in model.backbone.experts.items()
    }
    return [
        AttentionMap(
            layer,
            query,
            context,
            found.axis,
            specs[query],
            specs[context],
            found.weights[0].cpu(),
        )
        for (query, context, layer), found in out.attention.items()
    ]
