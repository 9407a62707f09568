# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which part of a config cannot be built, and why, in one sentence."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import build_from_cfg

from .errors import UsageError, UserError

# What their classes refuse is the config's fault.
LIBRARIES = 'ca2st_mm', 'mmaction', 'mmcv', 'mmengine', 'mmpretrain', 'torch'
REFUSALS = (
    *(AssertionError, AttributeError, KeyError, TypeError, ValueError),
    ZeroDivisionError,
)


def nodes(node: Any, key: str) -> Iterator[tuple[Mapping, str]]:
    """Every dict below a part of a config, with its dotted key."""
    if isinstance(node, Mapping):
        yield node, key
        children = node.items()
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    else:
        children = ()
    for name, child in children:
        yield from nodes(child, f'{key}.{name}' if key else str(name))


@contextmanager
def building(
    cfg: Config | ConfigDict, name: str | None = None
) -> Iterator[None]:
    """Turn what a registry cannot build into a ``UsageError``.

    These are unknown types, arguments that a class does not take or misses,
    and values that a class of ours or of OpenMMLab refuses.  An error within
    a class of the user's own passes, and so keeps its traceback.

    Args:
        cfg: The whole config; its file and the dotted key of the part are
            in the message, MMEngine's error is the cause.
        name: What carries a config that has no file.

    Example:
        >>> from ca2st_mm.registry import MODELS
        >>> cfg = Config(dict(model=dict(cls_head=dict(type='FusionHed'))))
        >>> with building(cfg):
        ...     MODELS.build(cfg.model.cls_head)
        Traceback (most recent call last):
        ca2st_mm.utils.errors.UsageError: the config: model.cls_head ...
    """
    name = getattr(cfg, 'filename', None) or name
    try:
        yield
    except REFUSALS as error:
        frames = [f for f, _ in traceback.walk_tb(error.__traceback__)]
        builds = [f for f in frames if f.f_code is build_from_cfg.__code__]
        other = isinstance(error, UserError) and type(error) is not UsageError
        if not builds or other:
            raise
        parts = [frame.f_locals['cfg'] for frame in builds]
        # What is no dict is an option of the part around it.
        node = next((p for p in parts[::-1] if isinstance(p, Mapping)), {})
        kind = builds[-1].f_locals.get('obj_cls')
        reason = str(error.args[0]) if error.args else ''
        if not isinstance(error, UserError):
            reason = next(iter(reason.splitlines()), 'no reason is given')
        module = frames[-1].f_globals['__name__']
        if not module.startswith('mmengine.registry'):
            # Raised by the class, not by the call; it may have passed an
            # unknown argument on to its base.
            named = "unexpected keyword argument '"
            library = getattr(kind, '__module__', '').partition('.')[0]
            passed = reason.partition(named)[2].partition("'")[0] in node
            if not (
                passed or library in LIBRARIES or type(error) is UsageError
            ):
                raise
            if not isinstance(error, ValueError):
                reason = f'{type(error).__name__}, {reason}'
        reason, unknown, _ = reason.partition('. Please check')
        if unknown:
            reason += '; correct it, or import its module by custom_imports'
        raise UsageError(
            f'the config{f" {name}" if name else ""}: '
            f'{_name(cfg, node)} cannot be built: {reason}'
        ) from error


def _name(cfg: Config | ConfigDict, failed: Mapping) -> str:
    """The dotted key of a part, if it is found, and its type."""
    kind = failed.get('type')
    title = getattr(kind, '__name__', None) or str(kind or 'a part')
    # The model first: other names may be variables that a config reuses.
    known = {'model': cfg.get('model'), **dict(cfg.items())}
    for node, key in nodes(known, ''):
        # Builders copy parts, and change some of their options.
        if node.get('type') == kind and all(
            node[option] == failed[option] for option in {*node} & {*failed}
        ):
            return f'{key} ({title})'
    return title
