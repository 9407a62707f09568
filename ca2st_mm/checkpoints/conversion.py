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
_LAYER = re.compile(r'\b(?:blocks|layers|links)\.(\d+)\.')
# What others call the layers of an expert.
_BLOCKS = re.compile(r'^(transformer\.resblocks|(encoder\.)?layers?)\.(?=\d)')
_QKV = re.compile(r'(?<=attention\.attn\.)[qkv](?=\.)')


def rename(key: str, names: Mapping[str, str]) -> str | None:
    """Translate a key by the longest module or parameter that has a name.

    Args:
        key: A key of ours, or of theirs.
        names: The other name by the one; ``{i}`` stands for a layer.

    Returns:
        None if nothing of this name is known.

    Example:
        >>> rename('blocks.3.norm1.bias', {'blocks.{i}.norm1': 'n.{i}'})
        'n.3.bias'
    """
    key = re.sub(r'_(weight|bias)$', r'.\1', key)  # in_proj_weight, q_bias
    key = _BLOCKS.sub('blocks.', key)
    layer = _LAYER.search(key)
    if layer:
        key = f'{key[: layer.start(1)]}{{i}}{key[layer.end(1) :]}'
    module, end = key, ''
    while module not in names:
        module, dot, last = module.rpartition('.')
        end = f'.{last}{end}'
        if not dot or not end.endswith(('.weight', '.bias')):
            return None
    found = names[module] + end
    return found.replace('{i}', layer[1]) if layer else found


class Conversion:
    """A state dict by our names, and what became of every tensor.

    Args:
        weights: The foreign state dict.

    Attributes:
        left: Tensors that are not yet taken or left out.
        state_dict: Parameters by our name.
        origins: Our name -> their keys that the tensor is made of.
        ignored: Their keys that are left out, each with the reason.
        head: Of an expert, its classifier by the names of our heads; also
            among ``ignored``, as the expert alone has none.
        notes: Sentences that the user should read.

    Example:
        >>> conversion = Conversion({'fc.bias': torch.zeros(1)})
        >>> conversion.translate({'fc': 'head'})
        >>> conversion.state_dict
        {'head.bias': tensor([0.])}
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.left = dict(weights)
        self.state_dict: dict[str, Tensor] = {}
        self.origins: dict[str, tuple[str, ...]] = {}
        self.ignored: dict[str, str] = {}
        self.head: dict[str, Tensor] = {}
        self.notes: list[str] = []

    def translate(self, names: Mapping[str, str], prefix: str = '') -> None:
        """Give our names to all tensors that have one; q, k, v are stacked.

        A bias of the key that no layer has, as in VideoMAE, becomes zeros: it
        would shift all logits of a query alike.

        Args:
            names: As for :func:`rename`, from theirs to ours.
            prefix: What may stand before their names.

        Raises:
            KeyError: If a tensor is missing or holds integers.
        """
        keys: dict[str, str] = {}
        for key in self.left:
            if ours := rename(key.removeprefix(prefix), names):
                keys.setdefault(ours, key)  # the second stays left
        _require_all_layers(keys)
        for ours in keys:
            whole, parts = _QKV.sub('qkv', ours), [ours]
            if whole in self.state_dict or (whole in keys and whole != ours):
                continue  # stacked already, or there twice and so left
            if whole != ours:
                parts = [_QKV.sub(x, ours) for x in 'qkv']
            found = [keys[part] for part in parts if part in keys]
            values = [self.left.pop(key) for key in found]
            for key, value in zip(found, values, strict=True):
                # Stacking would turn an index table into floats.
                if not value.is_floating_point():
                    raise KeyError(
                        f'{key!r} holds {value.dtype}, which is no weight'
                    )
            if absent := [part for part in parts if part not in keys]:
                if absent != parts[1:2] or not ours.endswith('.bias'):
                    raise _lacks(repr(absent[0]))
                values.insert(1, torch.zeros_like(values[0]))
            value = torch.cat(values) if len(values) > 1 else values[0]
            if whole.endswith(TOKENS):
                value = value[(None,) * (3 - value.ndim)]
            self.state_dict[whole] = value
            self.origins[whole] = tuple(found)

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

    def account(self, with_head: bool = False) -> list[str]:
        """What a log should say: the keys left out by reason, the notes."""
        counts = Counter(self.ignored.values())
        if with_head:  # which is not left out, then
            del counts[HEAD]
        ignored = (f'ignored {n}: {why}' for why, n in counts.items())
        return [*ignored, *self.notes]


def _require_all_layers(keys: Mapping[str, str]) -> None:
    """Raise ``KeyError`` if a layer lacks what other layers have."""
    layers: dict[str, dict[int, str]] = defaultdict(dict)
    for ours, key in keys.items():
        # Links may begin later.
        if layer := re.search(r'(?<=\blayers\.)\d+(?=\.)', ours):
            name = f'{ours[: layer.start()]}{{}}{ours[layer.end() :]}'
            layers[name][int(layer[0])] = key
    depth = 1 + max(map(max, layers.values()), default=-1)
    for ours, found in layers.items():
        if lost := set(range(depth)) - set(found):
            other, key = found.popitem()
            theirs = key.replace(f'.{other}.', f'.{min(lost)}.', 1)
            raise _lacks(f'{theirs!r} ({ours.format(min(lost))!r} of ours)')


def _lacks(what: str) -> KeyError:
    return KeyError(
        f'the checkpoint lacks {what}; it is incomplete or of another model'
    )


class Layout(NamedTuple):
    """Names of tensors that we read.

    Attributes:
        name: Short name; its first word is whose weights it holds.
        take: Takes all tensors, under a prefix, out of a
            :class:`Conversion`.
        there: Names that tell it, under any prefix.
        absent: Name that it has not there.
        is_expert: Whether it is of one expert as published.

    Example:
        >>> from ca2st_mm.checkpoints import LAYOUTS
        >>> LAYOUTS['clip_hf'].model
        'clip'
    """

    name: str
    take: Callable[[Conversion, str], None]
    there: str
    absent: str = '-'
    is_expert: bool = True

    @property
    def model(self) -> str:
        """Whose weights it holds: 'clip', 'videomae', 'cast', ..."""
        return self.name.partition('_')[0]

    def find_prefix(self, keys: Collection[str]) -> str | None:
        """What stands before its names in keys; None if they are others."""
        first, *others = self.there.split()
        for key in keys:
            prefix = key.removesuffix(first)
            if (
                f'.{key}'.endswith(f'.{first}')
                and all(prefix + name in keys for name in others)
                and prefix + self.absent not in keys
            ):
                return prefix
        return None

    def convert(self, weights: Mapping[str, Tensor]) -> Conversion:
        """Convert a state dict of this layout to our names.

        Half precision becomes float32.

        Raises:
            KeyError: If a key is unknown, missing or no weight.
            ValueError: If our model cannot hold the values.
        """
        found = Conversion(weights)
        self.take(found, self.find_prefix(weights) or '')
        if found.left:
            shown = ', '.join(map(repr, list(found.left)[:3]))
            raise KeyError(
                f'read as {self.name}, {len(found.left)} keys are unknown or '
                f'there twice ({shown}); the checkpoint is of another model '
                'or a newer layout'
            )
        half = 0
        for key, value in found.state_dict.items():
            if value.dtype in (torch.float16, torch.bfloat16):
                found.state_dict[key] = value.float()
                half += 1
        if half:
            note = f'{half} tensors of half precision became float32'
            found.notes.append(note)
        return found
