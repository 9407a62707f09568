# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Compare two results: ``python tools/analysis/diff_results.py A B``.

Prints every line of the two ``results.json`` that differs; status 0 if none
does, 1 if one does.
"""

import argparse
import json

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.records import RecordError, differences, read_record


def main() -> None:
    """Compare as the arguments say."""
    parser = argparse.ArgumentParser(
        description='Print what differs between two results.json.'
    )
    parser.add_argument('a', help='results.json of one test')
    parser.add_argument('b', help='results.json of another test')
    args = parser.parse_args()
    different = differences(read_record(args.a), read_record(args.b))
    for key, a, b in different:
        print(f'{key}: {json.dumps(a)} | {json.dumps(b)}')
    if not different:
        print('no line differs')
    raise SystemExit(bool(different))


if __name__ == '__main__':
    run_or_explain(main, (RecordError,))
