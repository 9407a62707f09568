# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parts of a multi-expert model: its senses, and all experts but one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn

from ca2st_mm.models.backbones import MultiExpertBackbone

# What the streams are to us; another one goes by its own name.
SOUND = 'audios'
SENSES = {'imgs': 'picture', SOUND: 'sound'}
# A key that no pipeline packs.
_LEFT_OUT = '<left out>'


def senses_of(model: nn.Module) -> dict[str, list[str]]:
    """Names of the experts of each sense.

    Args:
        model: A recognizer.

    Raises:
        ValueError: If it has a single expert.
    """
    backbone = model.backbone
    if not isinstance(backbone, MultiExpertBackbone):
        raise ValueError(
            'which sense decided can be asked of a model with several '
            f'experts; this one is {type(backbone).__name__} alone'
        )
    senses: dict[str, list[str]] = {}
    for expert in backbone.experts:
        stream = backbone.inputs[expert]
        senses.setdefault(SENSES.get(stream, stream), []).append(expert)
    return senses


def parts_of(model: nn.Module) -> dict[str, list[str]]:
    """The experts of every part that is asked, by name of the part.

    Args:
        model: A recognizer.

    Raises:
        ValueError: If it has a single expert.
    """
    senses = senses_of(model)
    parts = {f'{sense} alone': names for sense, names in senses.items()}
    for name in model.backbone.experts:
        others = [other for other in model.backbone.experts if other != name]
        parts[f'without {name}'] = others
    return parts


@contextmanager
def only_experts(
    backbone: MultiExpertBackbone, names: Iterable[str]
) -> Iterator[None]:
    """Run a backbone with some of its experts for a while.

    Args:
        backbone: Changed, and put back at the end.
        names: The experts that stay.
    """
    inputs, policy = backbone.inputs, backbone.missing_inputs
    kept = set(names)
    backbone.inputs = {
        name: stream if name in kept else _LEFT_OUT
        for name, stream in inputs.items()
    }
    backbone.missing_inputs = 'drop'
    try:
        yield
    finally:
        backbone.inputs, backbone.missing_inputs = inputs, policy


def why_not(head: nn.Module, experts: Sequence[str]) -> str | None:
    """Why a head cannot answer from some experts; None if it can.

    Args:
        head: The head.
        experts: Names of those that stay.

    Raises:
        ValueError: If it does not tell its experts apart.
    """
    for task, fusion in _fusions_of(head).items():
        if not set(experts) & set(fusion.adapters):
            return f'the head reads the {task} off {list(fusion.adapters)}'
    return None


def _fusions_of(head: nn.Module) -> Mapping[str, nn.Module]:
    """What a head reads its experts with."""
    if hasattr(head, 'fusions'):
        return dict(head.fusions.items())
    if hasattr(head, 'fusion'):
        return {'label': head.fusion}
    raise ValueError(
        f'{type(head).__name__} does not tell its experts apart; which sense '
        'decided can be asked of a FusionHead or a VerbNounHead'
    )


def parts_that_only_listen(model: nn.Module) -> list[str]:
    """Names of the parts whose experts all read sound.

    Args:
        model: A recognizer.
    """
    listeners = set(senses_of(model).get(SENSES[SOUND], ()))
    parts = parts_of(model).items()
    return [part for part, experts in parts if listeners.issuperset(experts)]
