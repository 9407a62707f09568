# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The config and class names that a checkpoint carries.

MMEngine stores a config as Python text and reads it by executing it.  A
checkpoint comes from anywhere, so here the text is parsed, and nothing but
plain values and ``dict(...)`` is accepted.
"""

import ast
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

# A type is looked up in a registry; with any other dotted name MMEngine would
# import and call whatever function it names.
_TYPE = re.compile(r'((mmaction|mmpretrain|mmdet)\.)?\w+')


def stored_config(stored: Mapping[str, Any], name: str) -> Config:
    """The config that a checkpoint carries.

    Args:
        stored: What the file holds; the text is in its ``meta``.
        name: The checkpoint, for messages.

    Raises:
        ValueError: If there is no config, if its text holds more than plain
            values, or if it needs modules that are not imported.
    """
    meta = stored.get('meta') or {}
    text = meta.get('config', meta.get('cfg'))
    if not isinstance(text, str):
        raise ValueError(
            f'{name!r} carries no config; name one next to it '
            '(Recognizer.from_config, or --config)'
        )
    try:
        values = {}
        for line in ast.parse(text).body:
            match line:
                case ast.Assign(targets=[ast.Name(id=key)], value=value):
                    values[key] = ast.literal_eval(_Plain().visit(value))
                case _:
                    raise ValueError(f'line {line.lineno} is no plain value')
        _check_types(values)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(
            f'the config in {name!r} was not read ({error}); name a config '
            'that you trust next to it (Recognizer.from_config, or --config)'
        ) from error
    imports = (values.get('custom_imports') or {}).get('imports') or ()
    if missing := [m for m in imports if m not in sys.modules]:
        raise ValueError(
            f'{name!r} is a model that needs the modules {missing}; import '
            'them first'
        )
    return Config(values)


def stored_classes(stored: Mapping[str, Any]) -> Any:
    """The class names that a checkpoint carries, or those of each task.

    Args:
        stored: What the file holds.

    Returns:
        None if it carries none.
    """
    meta = stored.get('meta') or {}
    if isinstance(meta.get('classes'), str):
        return json.loads(meta['classes'])
    return (meta.get('dataset_meta') or {}).get('classes')


class _Plain(ast.NodeTransformer):
    """Writes ``dict(a=1)`` as ``{'a': 1}``, which ``literal_eval`` reads."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id='dict'), args=[], keywords=pairs):
                keys = [pair.arg and ast.Constant(pair.arg) for pair in pairs]
                return ast.Dict(keys, [pair.value for pair in pairs])
        return node


def _check_types(values: Any) -> None:
    """Refuse a ``type``, at any depth, that is no name of a registry."""
    if isinstance(values, Mapping):
        kind = values.get('type', 'none')
        if not (isinstance(kind, str) and _TYPE.fullmatch(kind)):
            raise ValueError(f'the type {kind!r} is in no registry')
        values = values.values()
    elif not isinstance(values, (list, tuple)):
        return
    for child in values:
        _check_types(child)
