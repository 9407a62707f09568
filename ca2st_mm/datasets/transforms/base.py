# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the transforms of this package share."""

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
