# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The config that a checkpoint carries, read without running it.

MMEngine stores a config as Python text and reads it by executing it.  A
checkpoint comes from anywhere, so here the text is parsed, and nothing but
plain values and ``dict(...)`` is accepted.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
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
        values = _read(text)
        _check_types(values)
    except (SyntaxError, ValueError) as error:
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


def _read(text: str) -> dict[str, Any]:
    values = {}
    for line in ast.parse(text).body:
        match line:
            case ast.Assign(targets=[ast.Name(id=key)], value=value):
                values[key] = _value(value)
            case _:
                raise ValueError(f'line {line.lineno} is no plain value')
    return values


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=pairs):
            return {_key(pair): _value(pair.value) for pair in pairs}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {ast.literal_eval(k): _value(v) for k, v in pairs}
        case ast.List(elts=parts):
            return [_value(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(_value(part) for part in parts)
        case ast.Call(func=ast.Name(id='set'), args=[], keywords=[]):
            return set()
    return ast.literal_eval(node)


def _key(pair: ast.keyword) -> str:
    if pair.arg is None:
        raise ValueError(f'line {pair.value.lineno} is no plain value')
    return pair.arg


def _check_types(values: Any) -> None:
    for kind in _types(values):
        if not (isinstance(kind, str) and _TYPE.fullmatch(kind)):
            raise ValueError(f'the type {kind!r} is in no registry')


def _types(values: Any) -> Iterator[Any]:
    """Every ``type`` below a value."""
    if isinstance(values, Mapping):
        if 'type' in values:
            yield values['type']
        for child in values.values():
            yield from _types(child)
    elif isinstance(values, (list, tuple)):
        for child in values:
            yield from _types(child)
