# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The model of a config for other clips: more frames, larger, longer."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import ConfigDict

from ca2st_mm.registry import MODELS

# Arguments of experts by the option that sets them.
OF_PICTURES = dict(frames='num_frames', size='img_size')
OF_SOUND = dict(spec='spec_size')


def experts_of(model: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """Name and config of every expert, or of the one backbone."""
    backbone = model.backbone
    yield from backbone.get('experts', dict(backbone=backbone)).items()


def resize(model: ConfigDict, options: Mapping[str, Any]) -> None:
    """Change the experts of a model, in place, to clips of another size.

    Args:
        model: ``model`` of a config.
        options: ``frames`` of a clip, ``size`` in pixels and ``spec``, the
            frames and mel bands of the spectrogram; those that are None or
            absent stay as they are.

    Raises:
        ValueError: If an expert cannot be changed, or none is concerned.
    """
    for option, value in options.items():
        if value is None:
            continue
        concerned = [
            _change(name, expert, option, value)
            for name, expert in experts_of(model)
        ]
        if not any(concerned):
            raise ValueError(
                f'no expert of this model reads what --{option} changes: '
                'leave it out'
            )


def _change(name: str, expert: ConfigDict, option: str, value: Any) -> bool:
    """Whether an option concerns an expert, which then has the value."""
    found = MODELS.get(expert.type)
    if found is None:
        raise ValueError(
            f'{name} is of the unknown type {expert.type}: add the package '
            "that registers it to the config's custom_imports"
        )
    known = inspect.signature(found).parameters
    arguments = OF_SOUND if 'spec_size' in known else OF_PICTURES
    if option not in arguments:
        return False
    argument = arguments[option]
    if argument not in known:
        raise ValueError(
            f'--{option} cannot change {name} ({expert.type}), which has no '
            f'argument {argument}: change the config instead'
        )
    if option == 'frames':  # of the clip; the expert may read a part
        stride = expert.get('frame_stride', 1)
        if value % stride:
            raise ValueError(
                f'--frames {value} is no multiple of the frame_stride '
                f'{stride} of {name}'
            )
        value //= stride
    expert[argument] = value
    return True
