# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Reading attention weights, which the fused path never forms."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from .attention import merge_heads


class _ExplicitAttention:
    """Attention by an explicit softmax that remembers its weights.

    Args:
        name: Key of the weights.
        weights: Where they go.
        head: The head to remember; None for the mean over heads.
    """

    def __init__(
        self, name: str, weights: dict[str, Tensor], head: int | None
    ) -> None:
        self.name, self.weights, self.head = name, weights, head

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, heads, L, d) and twice (B, heads, M, d) -> (B, L, heads * d)."""
        scale = query.shape[-1] ** -0.5
        logits = (query * scale) @ key.transpose(-2, -1)
        # As the fused path, which keeps its softmax in float32.
        weights = logits.float().softmax(dim=-1)
        one = weights.mean(1) if self.head is None else weights[:, self.head]
        self.weights[self.name] = one.detach().cpu()
        return merge_heads(weights.to(value.dtype) @ value)


@contextmanager
def record_attention(
    modules: Mapping[str, nn.Module], head: int | None = None
) -> Iterator[dict[str, Tensor]]:
    """Let attention modules keep their weights while the context is open.

    The slow path gives the fused one's results up to rounding, and takes
    memory for all weights of one module at a time.  Leaving the context, by
    an error too, brings the fused path back.

    Args:
        modules: :class:`SelfAttention` and :class:`CrossAttention` modules
            by any name.
        head: The head to read, from 0; None for the mean over heads.

    Yields:
        By name, what the last call of each module used: (B, L, M), float32
        on the CPU; each row sums to one.

    Raises:
        ValueError: If a module is no such attention, is being read already,
            or has no such head.
    """
    weights: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, module in modules.items():
            _check(name, module, head)
            module.attend = _ExplicitAttention(name, weights, head)
            stack.callback(delattr, module, 'attend')
        yield weights


def _check(name: str, module: nn.Module, head: int | None) -> None:
    if not hasattr(module, 'attend'):
        raise ValueError(
            f'{name} is a {type(module).__name__}, whose attention cannot be '
            'read; it needs SelfAttention or CrossAttention'
        )
    if 'attend' in vars(module):
        raise ValueError(f'the attention of {name} is being read already')
    if head is not None and not 0 <= head < module.num_heads:
        raise ValueError(
            f'{name} has the heads 0 to {module.num_heads - 1}, not {head}'
        )
