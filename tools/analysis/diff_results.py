# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Compare two results: ``ca2st report diff-results A B``.

Prints every line of the two ``results.json`` that differs; status 0 if none
does, 1 if one does.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from reports import new_parser


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument('a', help='results.json of one test')
    parser.add_argument('b', help='results.json of another test')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.text_files import read_record


def lines_of(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, plain value) of everything below a key."""
    if isinstance(value, Mapping) and value:
        for name, child in value.items():
            yield from lines_of(child, f'{key}.{name}' if key else name)
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from lines_of(child, f'{key}.{index}')
    else:
        yield key, value


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple]:
    """(key, value in a, value in b) of each line in which they differ.

    In the order of a; None stands for a line that is not there.
    """
    left, right = dict(lines_of(a)), dict(lines_of(b))
    keys = [*left, *(key for key in right if key not in left)]
    missing = object()
    return [
        (key, left.get(key), right.get(key))
        for key in keys
        if left.get(key, missing) != right.get(key, missing)
    ]


def main() -> None:
    """Compare as the arguments say."""
    args = parse_args()
    different = differences(read_record(args.a), read_record(args.b))
    for key, a, b in different:
        print(f'{key}: {json.dumps(a)} | {json.dumps(b)}')
    if not different:
        print('no line differs')
    raise SystemExit(bool(different))


if __name__ == '__main__':
    run_or_explain(main)
