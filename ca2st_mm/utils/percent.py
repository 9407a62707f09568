# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How a share is printed, the same everywhere."""


def percent(share: float, sign: bool = False) -> str:
    """A share with one decimal; what rounding would hide is said.

    Args:
        share: From 0 to 1, or a difference of two.
        sign: Whether it is a difference, which always has a sign.

    Example:
        >>> percent(0.1234), percent(0.0001), percent(0.99999), percent(1)
        ('12.3 %', '< 0.1 %', '> 99.9 %', '100.0 %')
        >>> percent(-0.05, sign=True)
        '-5.0 %'
    """
    if sign:
        return f'{100 * share:+.1f} %'
    if 0 < share < 0.0005:
        return '< 0.1 %'
    if 0.9995 <= share < 1:
        return '> 99.9 %'
    return f'{100 * share:.1f} %'
