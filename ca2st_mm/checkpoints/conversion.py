# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a foreign state dict to ours, with an account of every tensor.

Each layout of names has one function that takes the tensors it knows out of a
:class:`Tensors` and gives them our names.  A tensor that is missing, unknown
or no weight is an error.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
HEAD = 'classifier of the training before'


@dataclass
class Conversion:
    """A converted state dict and what became of every tensor.

    Args:
        state_dict: Parameters by our name.
        ignored: Their keys that are left out, each with the reason.
        origins: Our name -> their keys that the tensor is made of.
        notes: Sentences that the user should read.
        head: Of an expert, its classifier by the names of our heads; also
            among ``ignored``, as the expert alone has none.
    """

    state_dict: dict[str, Tensor]
    ignored: dict[str, str] = field(default_factory=dict)
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    head: dict[str, Tensor] = field(default_factory=dict)

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

    def reasons(self) -> dict[str, list[str]]:
        """The ignored keys by reason."""
        reasons: dict[str, list[str]] = {}
        for key, why in self.ignored.items():
            reasons.setdefault(why, []).append(key)
        return reasons

    def account(self) -> list[str]:
        """What a log should say: the keys left out by reason, the notes."""
        left_out = [
            f'ignored {len(v)}: {k}' for k, v in self.reasons().items()
        ]
        return left_out + self.notes


class Source(NamedTuple):
    """A layout of names that we read.

    Attributes:
        name: Short name.
        title: Name for messages.
        model: Whose weights it holds: 'clip', 'videomae' or 'ast' for one
            expert, 'cast', 'cava' or 'ca2st' for a whole recognizer, 'any'
            for our own names.
        prefix_of: The prefix under which keys of this layout stand in a
            collection of keys; None if they are not there.
        convert: A state dict and that prefix -> :class:`Conversion`.
    """

    name: str
    title: str
    model: str
    prefix_of: Callable[[Collection[str]], str | None]
    convert: Callable[[Mapping[str, Tensor], str], Conversion]

    def matches(self, keys: Collection[str]) -> bool:
        """Whether the names are of this layout."""
        return self.prefix_of(keys) is not None

    def to_ours(self, weights: Mapping[str, Tensor]) -> Conversion:
        """Convert a state dict to our names.

        Raises:
            KeyError: If a key is unknown, missing or no weight.
            ValueError: If the layout is another, or our model cannot hold
                the values.
        """
        prefix = self.prefix_of(weights)
        if prefix is None:
            raise ValueError(
                f'this is no {self.title}; its first keys are '
                f'{", ".join(map(repr, sorted(weights)[:3]))}'
            )
        return self.convert(weights, prefix)


def find_prefix(
    keys: Collection[str],
    prefixes: Iterable[str],
    there: Iterable[str],
    absent: Iterable[str] = (),
) -> str | None:
    """The first prefix under which some names are there and others not."""
    for prefix in prefixes:
        if all(prefix + name in keys for name in there) and not any(
            prefix + name in keys for name in absent
        ):
            return prefix
    return None


class Tensors:
    """Tensors of a foreign state dict, taken one after the other.

    Args:
        weights: The state dict.
        title: Whose it is, for messages.

    Example:
        >>> theirs = Tensors({'fc.bias': torch.zeros(1)}, 'theirs')
        >>> theirs.take('head.bias', 'fc.bias')
        >>> list(theirs.converted().state_dict)
        ['head.bias']
    """

    def __init__(self, weights: Mapping[str, Tensor], title: str) -> None:
        self.left = dict(weights)
        self.title = title
        self.conversion = Conversion({})

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
        if ours in self.conversion.origins:
            raise KeyError(f'{self.title}: {theirs[0]!r} is a second {ours!r}')
        there = tuple(key for key in theirs if key in self.left)
        for key in theirs:
            if key not in self.left and key != optional:
                raise KeyError(
                    f'{self.title}: the checkpoint lacks {key!r}; it is '
                    'incomplete or of another model'
                )
        for key in there:
            # Stacking would turn integers, e.g. an index table, into floats.
            if not self.left[key].is_floating_point():
                raise KeyError(
                    f'{self.title}: {key!r} holds {self.left[key].dtype}, '
                    'which is no weight'
                )
        value = self.left[there[0]]
        if len(theirs) > 1:
            blank = torch.zeros_like(value)
            value = torch.cat([self.left.get(key, blank) for key in theirs])
        for key in there:
            del self.left[key]
        self.conversion.state_dict[ours] = value[(None,) * new_axes]
        self.conversion.origins[ours] = there

    def take_module(self, ours: str, theirs: str) -> None:
        """Take the weight and the bias of a module."""
        for kind in ('weight', 'bias'):
            self.take(f'{ours}.{kind}', f'{theirs}.{kind}')

    def take_layer(
        self,
        index: int,
        theirs: str,
        *,
        norm1: str,
        proj: str,
        norm2: str,
        fc1: str,
        fc2: str,
    ) -> None:
        """Take a layer of an expert, all but query, key and value.

        Args:
            index: The layer.
            theirs: Their prefix of it.
            norm1: Their name of the norm before attention, and so on.
        """
        for name, module in {
            'attention.norm': norm1,
            'attention.attn.proj': proj,
            'ffn.norm': norm2,
            'ffn.fc1': fc1,
            'ffn.fc2': fc2,
        }.items():
            self.take_module(f'layers.{index}.{name}', f'{theirs}.{module}')

    def take_qkv(
        self, index: int, kind: str, *theirs: str, optional: str | None = None
    ) -> None:
        """Take the joint projection of a layer, whole or in three parts.

        Args:
            index: The layer.
            kind: 'weight' or 'bias'.
            theirs: Their key, or those of query, key and value.
            optional: A key bias that may be absent.  It shifts all logits of
                a query alike, so that zeros have the same effect as none.
        """
        ours = f'layers.{index}.attention.attn.qkv.{kind}'
        self.take(ours, *theirs, optional=optional)

    def leave_out(self, reasons: Mapping[str, str], prefix: str = '') -> None:
        """Ignore keys and modules, if they are there, for a reason each."""
        for name, why in reasons.items():
            name = prefix + name
            for key in list(self.left):
                if key == name or key.startswith(f'{name}.'):
                    del self.left[key]
                    self.conversion.ignored[key] = why

    def leave_head(self, **modules: str) -> None:
        """Ignore a classifier, if it is there, but keep it apart.

        Args:
            modules: Their module by ours, e.g. ``fc_cls='classifier'``.
        """
        for ours, theirs in modules.items():
            for kind in ('weight', 'bias'):
                if (value := self.left.get(f'{theirs}.{kind}')) is not None:
                    self.conversion.head[f'{ours}.{kind}'] = value.float()
            self.leave_out({theirs: HEAD})

    def layers(self, prefix: str) -> range:
        """The indices of layers, which follow a prefix such as 'blocks.'."""
        rests = (k[len(prefix) :] for k in self.left if k.startswith(prefix))
        numbers = [rest.partition('.')[0] for rest in rests]
        return range(
            1 + max((int(n) for n in numbers if n.isdigit()), default=0)
        )

    def converted(self, *notes: str) -> Conversion:
        """The result, in float32.

        Args:
            notes: What the user should know.

        Raises:
            KeyError: If keys are neither taken nor left out.
        """
        if self.left:
            shown = ', '.join(map(repr, list(self.left)[:3]))
            raise KeyError(
                f'{self.title}: {len(self.left)} keys are unknown ({shown}); '
                'the checkpoint is of another model or a newer layout'
            )
        state_dict = self.conversion.state_dict
        half = {k: v.dtype for k, v in state_dict.items() if v.dtype in HALF}
        if half:
            kinds = sorted(
                {str(k).removeprefix('torch.') for k in half.values()}
            )
            self.conversion.notes.append(
                f'{len(half)} tensors of {" and ".join(kinds)} became float32'
            )
        state_dict |= {key: state_dict[key].float() for key in half}
        self.conversion.notes += notes
        return self.conversion
