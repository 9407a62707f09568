# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a foreign state dict to ours, with an account of every tensor."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

HEAD = 'classifier of the training before'
# Ours have leading axes of size 1, which theirs may not have.
TOKENS = ('cls_token', 'dist_token', 'pos_embed')
_LAYER = re.compile(r'(?<=layers\.)\d+(?=\.)')
_QKV = re.compile(r'(?<=attention\.attn\.)[qkv](?=\.)')


class Conversion:
    """A state dict by our names, and what became of every tensor.

    The function of a layout takes the tensors that it knows out of ``left``
    and gives them our names.

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
        >>> conversion.translate({'fc.bias': 'head.bias'}.get)
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

    def translate(self, name_of: Callable[[str], str | None]) -> None:
        """Give our names to all tensors that have one; q, k, v are stacked.

        A bias of the key that no layer has, as in VideoMAE, becomes zeros: it
        would shift all logits of a query alike.

        Args:
            name_of: Our name by their key; None for a tensor that is unknown.

        Raises:
            KeyError: If a tensor is missing or holds integers.
        """
        keys: dict[str, str] = {}
        for key in self.left:
            if ours := name_of(key):
                keys.setdefault(ours, key)  # the second stays left
        self._require_all_layers(keys)
        for ours in keys:
            whole, names = _QKV.sub('qkv', ours), [ours]
            if whole in self.state_dict or (whole in keys and whole != ours):
                continue  # stacked already, or there twice and so left
            if whole != ours:
                names = [_QKV.sub(x, ours) for x in 'qkv']
            parts = {n: self._pop(keys[n]) for n in names if n in keys}
            absent = [name for name in names if name not in parts]
            no_key_bias = absent == names[1:2] and ours.endswith('.bias')
            if absent and not no_key_bias:
                raise self._lacks(absent[0])
            value = parts[ours]
            if len(names) > 1:
                zeros = torch.zeros_like(value)
                value = torch.cat([parts.get(name, zeros) for name in names])
            if whole.endswith(TOKENS):
                value = value[(None,) * (3 - value.ndim)]
            self.state_dict[whole] = value
            self.origins[whole] = tuple(keys[name] for name in parts)

    def _require_all_layers(self, keys: Mapping[str, str]) -> None:
        """Raise ``KeyError`` if a layer lacks what other layers have."""
        layers: dict[str, set[int]] = defaultdict(set)
        for ours in keys:
            if layer := _LAYER.search(ours):
                layers[_LAYER.sub('{i}', ours)].add(int(layer[0]))
        depth = 1 + max(map(max, layers.values()), default=-1)
        for template, found in layers.items():
            if lost := set(range(depth)) - found:
                ours = template.replace('{i}', str(min(lost)))
                raise self._lacks(ours, their_name(ours, keys))

    def _lacks(self, ours: str, theirs: str | None = None) -> KeyError:
        what = f'{theirs!r} ({ours!r} of ours)' if theirs else repr(ours)
        return KeyError(
            f'{self.title}: the checkpoint lacks {what}; it is incomplete or '
            'of another model'
        )

    def _pop(self, key: str) -> Tensor:
        value = self.left.pop(key)
        # Stacking would turn integers, e.g. an index table, into floats.
        if not value.is_floating_point():
            raise KeyError(
                f'{self.title}: {key!r} holds {value.dtype}, which is no '
                'weight'
            )
        return value

    def take_all(self, _: str = '') -> None:
        """Take all tensors under the names that they have."""
        self.state_dict, self.left = self.left, {}
        self.origins = {key: (key,) for key in self.state_dict}

    def leave_out(self, why: str, names: str) -> None:
        """Ignore keys and modules, where they are there, for a reason."""
        for key in list(self.left):
            if any(f'{key}.'.startswith(f'{n}.') for n in names.split()):
                del self.left[key]
                self.ignored[key] = why

    def leave_head(self, ours: str, names: str) -> None:
        """Ignore a classifier of any of these names, but keep it apart."""
        for name in names.split():
            for kind in ('weight', 'bias'):
                if (value := self.left.get(f'{name}.{kind}')) is not None:
                    self.head[f'{ours}.{kind}'] = value.float()
        self.leave_out(HEAD, names)

    def finish(self) -> 'Conversion':
        """Half precision becomes float32; nothing may be left.

        Raises:
            KeyError: If keys are neither taken nor left out.
        """
        if self.left:
            shown = ', '.join(map(repr, list(self.left)[:3]))
            raise KeyError(
                f'{self.title}: {len(self.left)} keys are unknown or there '
                f'twice ({shown}); the checkpoint is of another model or a '
                'newer layout'
            )
        half = {
            key: value.float()
            for key, value in self.state_dict.items()
            if value.dtype in (torch.float16, torch.bfloat16)
        }
        if half:
            self.notes.append(
                f'{len(half)} tensors of half precision became float32'
            )
        self.state_dict |= half
        return self

    def make_whole(self) -> None:
        """Put an expert and its classifier under the names of a recognizer."""
        ignored = self.ignored.items()
        self.ignored = {key: why for key, why in ignored if why != HEAD}
        for named in (self.state_dict, self.origins):
            for key in list(named):
                named[f'backbone.{key}'] = named.pop(key)
        for key, value in self.head.items():
            self.state_dict[f'cls_head.{key}'] = value

    def account(self) -> list[str]:
        """What a log should say: the keys left out by reason, the notes."""
        counts = Counter(self.ignored.values()).items()
        return [*(f'ignored {n}: {why}' for why, n in counts), *self.notes]


def their_name(ours: str, keys: Mapping[str, str]) -> str | None:
    """What others would call a tensor of ours, told by one that is like it.

    That is the same one of another layer, or the bias of a weight.

    Args:
        ours: Our name.
        keys: Their keys by our names, of tensors that are there.

    Example:
        >>> their_name('layers.7.ffn.fc1.bias',
        ...            {'layers.0.ffn.fc1.bias': 'blocks.0.mlp.fc1.bias'})
        'blocks.7.mlp.fc1.bias'
    """
    template = _LAYER.sub('{i}', ours)
    for known, key in keys.items():
        if template == _LAYER.sub('{i}', known) != ours:
            layer, other = _LAYER.search(ours), _LAYER.search(known)
            return key.replace(f'.{other[0]}.', f'.{layer[0]}.', 1)
    module, _, kind = ours.rpartition('.')
    for other in {'weight', 'bias'} - {kind}:
        if (key := keys.get(f'{module}.{other}', '')).endswith(other):
            return key.removesuffix(other) + kind
    return None


class Layout(NamedTuple):
    """A layout of names that we read.

    Attributes:
        name: Short name; its first word is whose weights it holds.
        title: Name for messages.
        find_prefix: The prefix under which keys of this layout stand in a
            collection of keys; None if they are not there.
        take: Takes everything out of a :class:`Conversion` whose keys have
            that prefix.
        is_expert: Whether it is of one expert as published.

    Example:
        >>> from ca2st_mm.checkpoints import LAYOUTS
        >>> LAYOUTS['clip_hf'].model
        'clip'
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

    def convert(self, weights: Mapping[str, Tensor]) -> Conversion:
        """Convert a state dict of this layout to our names.

        Raises:
            KeyError: If a key is unknown, missing or no weight.
            ValueError: If our model cannot hold the values.
        """
        conversion = Conversion(weights, self.title)
        self.take(conversion, self.find_prefix(weights) or '')
        return conversion.finish()
