# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a foreign state dict to ours, with an account of every tensor."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
HEAD = 'classifier of the training before'
# Ours have leading axes of size 1, which theirs may not have.
TOKENS = ('cls_token', 'dist_token', 'pos_embed')


class Conversion:
    """A state dict by our names, and what became of every tensor.

    The function of a layout takes the tensors that it knows out of ``left``,
    one after the other, and gives them our names.

    Args:
        weights: The foreign state dict.
        title: Whose it is, for messages.

    Attributes:
        state_dict: Parameters by our name.
        origins: Our name -> their keys that the tensor is made of.
        ignored: Their keys that are left out, each with the reason.
        head: Of an expert, its classifier by the names of our heads; also
            among ``ignored``, as the expert alone has none.
        notes: Sentences that the user should read.

    Example:
        >>> conversion = Conversion({'fc.bias': torch.zeros(1)}, 'theirs')
        >>> conversion.take('head.bias', 'fc.bias')
        >>> conversion.state_dict
        {'head.bias': tensor([0.])}
    """

    def __init__(self, weights: Mapping[str, Tensor], title: str) -> None:
        self.left = dict(weights)
        self.title = title
        self.state_dict: dict[str, Tensor] = {}
        self.origins: dict[str, tuple[str, ...]] = {}
        self.ignored: dict[str, str] = {}
        self.head: dict[str, Tensor] = {}
        self.notes: list[str] = []

    def take(
        self, ours: str, *theirs: str, optional: str | None = None
    ) -> None:
        """Give a tensor, or several stacked along their first axis, our name.

        Args:
            ours: Our name.
            theirs: Their keys, in order.
            optional: The one key that may be absent; it becomes zeros.

        Raises:
            KeyError: If a key is missing or holds integers.
        """
        there = tuple(key for key in theirs if key in self.left)
        for key in theirs:
            if key not in there and key != optional:
                raise KeyError(
                    f'{self.title}: the checkpoint lacks {key!r}; it is '
                    'incomplete or of another model'
                )
        parts = {key: self.left.pop(key) for key in there}
        for key, part in parts.items():
            # Stacking would turn integers, e.g. an index table, into floats.
            if not part.is_floating_point():
                raise KeyError(
                    f'{self.title}: {key!r} holds {part.dtype}, which is no '
                    'weight'
                )
        value = parts[there[0]]
        if len(theirs) > 1:
            zeros = torch.zeros_like(value)
            value = torch.cat([parts.get(key, zeros) for key in theirs])
        if ours.endswith(TOKENS):
            value = value[(None,) * (3 - value.ndim)]
        self.state_dict[ours] = value
        self.origins[ours] = there

    def take_all(self, _: str = '') -> None:
        """Take all tensors under the names that they have."""
        self.state_dict, self.left = self.left, {}
        self.origins = {key: (key,) for key in self.state_dict}

    def leave_out(self, why: str, *names: str) -> None:
        """Ignore keys and modules, where they are there, for a reason."""
        for key in list(self.left):
            if any(key == n or key.startswith(f'{n}.') for n in names):
                del self.left[key]
                self.ignored[key] = why

    def leave_head(self, ours: str, *names: str) -> None:
        """Ignore a classifier of any of these names, but keep it apart."""
        for name in names:
            for kind in ('weight', 'bias'):
                value = self.left.get(f'{name}.{kind}')
                if value is not None:
                    self.head[f'{ours}.{kind}'] = value.float()
            self.leave_out(HEAD, name)

    def finish(self) -> 'Conversion':
        """Half precision becomes float32; nothing may be left.

        Raises:
            KeyError: If keys are neither taken nor left out.
        """
        if self.left:
            shown = ', '.join(map(repr, list(self.left)[:3]))
            raise KeyError(
                f'{self.title}: {len(self.left)} keys are unknown ({shown}); '
                'the checkpoint is of another model or a newer layout'
            )
        half = [k for k, v in self.state_dict.items() if v.dtype in HALF]
        if half:
            kinds = {str(self.state_dict[key].dtype)[6:] for key in half}
            self.notes.append(
                f'{len(half)} tensors of {" and ".join(sorted(kinds))} became '
                'float32'
            )
        self.state_dict |= {key: self.state_dict[key].float() for key in half}
        return self

    def whole_model(self) -> dict[str, Tensor]:
        """An expert and its classifier by the names of a recognizer."""
        ignored = self.ignored.items()
        self.ignored = {key: why for key, why in ignored if why != HEAD}
        expert = {f'backbone.{k}': v for k, v in self.state_dict.items()}
        return expert | {f'cls_head.{k}': v for k, v in self.head.items()}

    def account(self) -> list[str]:
        """What a log should say: the keys left out by reason, the notes."""
        reasons = list(self.ignored.values())
        return [
            *(
                f'ignored {reasons.count(w)}: {w}'
                for w in dict.fromkeys(reasons)
            ),
            *self.notes,
        ]


class Layout(NamedTuple):
    """A layout of names that we read.

    Attributes:
        name: Short name.
        title: Name for messages.
        find_prefix: The prefix under which keys of this layout stand in a
            collection of keys; None if they are not there.
        take: Takes everything out of a :class:`Conversion` whose keys have
            that prefix.
        is_expert: Whether it is of one expert as published.

    Example:
        >>> from ca2st_mm.checkpoints import LAYOUTS
        >>> LAYOUTS['clip_hf'].matches(['visual.class_embedding'])
        False
    """

    name: str
    title: str
    find_prefix: Callable[[Collection[str]], str | None]
    take: Callable[[Conversion, str], None]
    is_expert: bool = False

    @property
    def model(self) -> str:
        """Whose weights it holds: 'clip', 'videomae', 'cast', ..."""
        return self.name.partition('_')[0]

    def matches(self, keys: Collection[str]) -> bool:
        """Whether the names are of this layout."""
        return self.find_prefix(keys) is not None

    def convert(self, weights: Mapping[str, Tensor]) -> Conversion:
        """Convert a state dict to our names.

        Raises:
            KeyError: If a key is unknown, missing or no weight.
            ValueError: If the layout is another, or our model cannot hold
                the values.
        """
        prefix = self.find_prefix(weights)
        if prefix is None:
            raise ValueError(
                f'this is no {self.title}; its first keys are '
                f'{", ".join(map(repr, sorted(weights)[:3]))}'
            )
        conversion = Conversion(weights, self.title)
        self.take(conversion, prefix)
        return conversion.finish()
