# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the transforms of this package share."""

from collections.abc import Mapping
from pathlib import PurePath

from mmcv.transforms import BaseTransform


class Transform(BaseTransform):
    """A transform that prints itself as it is made.

    Its public attributes are the arguments of its ``__init__``.
    """

    def __repr__(self) -> str:
        arguments = (
            f'{name}={value!r}'
            for name, value in vars(self).items()
            if not name.startswith('_')
        )
        return f'{type(self).__name__}({", ".join(arguments)})'


def clip_name(results: Mapping) -> str:
    """What tells a clip from others, for seeds of noise.

    The name of its file, with the clip's id, else its span, where it has one.

    >>> clip_name(dict(filename='a/b.mp4', clip_start=1.0, clip_end=2.5))
    'b.mp4/1.0-2.5'
    """
    name = PurePath(results['filename']).name
    span = results.get('clip_start'), results.get('clip_end')
    if results.get('clip_id') is not None:
        name += f'/{results["clip_id"]}'
    elif span != (None, None):
        name += f'/{span[0]}-{span[1]}'
    return name
