# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a foreign state dict to ours, with an account of every tensor."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
HEAD = 'classifier of the training before'
# What a layer of an expert has next to query, key and value.
MODULES = dict(
    norm1='attention.norm',
    proj='attention.attn.proj',
    norm2='ffn.norm',
    fc1='ffn.fc1',
    fc2='ffn.fc2',
)


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
        self,
        ours: str,
        *theirs: str,
        optional: str | None = None,
        new_axes: int = 0,
    ) -> None:
        """Give a tensor, or several stacked along their first axis, our name.

        Args:
            ours: Our name.
            theirs: Their keys, in order.
            optional: The one key that may be absent; it becomes zeros.
            new_axes: How many leading axes of size 1 are added.

        Raises:
            KeyError: If a key is missing or holds integers.
        """
        if ours in self.origins:
            raise KeyError(f'{self.title}: {theirs[0]!r} is a second {ours!r}')
        there = tuple(key for key in theirs if key in self.left)
        for key in theirs:
            if key not in there and key != optional:
                raise KeyError(
                    f'{self.title}: the checkpoint lacks {key!r}; it is '
                    'incomplete or of another model'
                )
        taken = {key: self.left.pop(key) for key in there}
        for key, value in taken.items():
            # Stacking would turn integers, e.g. an index table, into floats.
            if not value.is_floating_point():
                raise KeyError(
                    f'{self.title}: {key!r} holds {value.dtype}, which is no '
                    'weight'
                )
        value = taken[there[0]]
        if len(theirs) > 1:
            blank = torch.zeros_like(value)
            value = torch.cat([taken.get(key, blank) for key in theirs])
        self.state_dict[ours] = value[(None,) * new_axes]
        self.origins[ours] = there

    def take_module(self, ours: str, theirs: str) -> None:
        """Take the weight and the bias of a module."""
        for kind in ('weight', 'bias'):
            self.take(f'{ours}.{kind}', f'{theirs}.{kind}')

    def take_layers(
        self,
        prefix: str,
        qkv: Iterable[str],
        biases: tuple[str, str, str] | None = None,
        **modules: str,
    ) -> None:
        """Take the layers of an expert.

        Args:
            prefix: What their index follows, such as 'blocks.'.
            qkv: In a layer, the projection to query, key and value, or those
                to each; ``{}`` stands for 'weight' or 'bias'.
            biases: The biases of the three, where they have other names.
                That of the key may be absent: it shifts all logits of a query
                alike, so that zeros do the same.
            modules: Their names of :data:`MODULES`.
        """
        for i in self.layers(prefix):
            ours, theirs = f'layers.{i}', f'{prefix}{i}'
            for kind in ('weight', 'bias'):
                names = [name.format(kind) for name in qkv]
                optional = None
                if kind == 'bias' and biases:
                    names, optional = biases, f'{theirs}.{biases[1]}'
                self.take(
                    f'{ours}.attention.attn.qkv.{kind}',
                    *(f'{theirs}.{name}' for name in names),
                    optional=optional,
                )
            for name, module in MODULES.items():
                self.take_module(
                    f'{ours}.{module}', f'{theirs}.{modules[name]}'
                )

    def layers(self, prefix: str) -> range:
        """The indices of layers, which follow a prefix such as 'blocks.'."""
        rests = (k[len(prefix) :] for k in self.left if k.startswith(prefix))
        numbers = [rest.partition('.')[0] for rest in rests]
        last = max((int(n) for n in numbers if n.isdigit()), default=0)
        return range(last + 1)

    def leave_out(self, why: str, *names: str) -> None:
        """Ignore keys and modules, where they are there, for a reason."""
        for key in list(self.left):
            if any(key == n or key.startswith(f'{n}.') for n in names):
                del self.left[key]
                self.ignored[key] = why

    def leave_head(self, **modules: str) -> None:
        """Ignore a classifier, if it is there, but keep it apart.

        Args:
            modules: Their module by ours, e.g. ``fc_cls='classifier'``.
        """
        for ours, theirs in modules.items():
            for kind in ('weight', 'bias'):
                if (value := self.left.get(f'{theirs}.{kind}')) is not None:
                    self.head[f'{ours}.{kind}'] = value.float()
            self.leave_out(HEAD, theirs)

    def finish(self) -> None:
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

    def whole_model(self) -> dict[str, Tensor]:
        """An expert and its classifier by the names of a recognizer."""
        ignored = self.ignored.items()
        self.ignored = {key: why for key, why in ignored if why != HEAD}
        parts = dict(backbone=self.state_dict, cls_head=self.head)
        return {
            f'{part}.{key}': value
            for part, weights in parts.items()
            for key, value in weights.items()
        }

    def account(self) -> list[str]:
        """What a log should say: the keys left out by reason, the notes."""
        reasons: dict[str, int] = {}
        for why in self.ignored.values():
            reasons[why] = reasons.get(why, 0) + 1
        left_out = [f'ignored {n}: {why}' for why, n in reasons.items()]
        return left_out + self.notes


class Layout(NamedTuple):
    """A layout of names that we read.

    Attributes:
        name: Short name.
        title: Name for messages.
        model: Whose weights it holds: 'clip', 'videomae', 'ast', ... for one
            expert, 'cast', 'cava' or 'ca2st' for a whole recognizer, 'any'
            for our own names.
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
    model: str
    find_prefix: Callable[[Collection[str]], str | None]
    take: Callable[[Conversion, str], None]
    is_expert: bool = False

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
        conversion.finish()
        return conversion
