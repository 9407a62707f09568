# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Time of a linear layer by MKL and by oneDNN.

``ca2st_mm.models.layers.matmul`` sends large products to oneDNN on AMD
processors; this shows whether that is right on a machine.  Forward pass,
float32, sizes of CAST ViT-B/16; both libraries in turn, medians, CPU
milliseconds::

    python tools/analysis/benchmark_matmul.py
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from measured_models import conditions, measure_in_turn, median_of, table

from ca2st_mm.models.layers import matmul

TOKENS = 1568
LAYERS = {
    'qkv': (768, 2304),
    'proj': (768, 768),
    'fc1': (768, 3072),
    'fc2': (3072, 768),
    'adapter down': (768, 192),
    'link down': (768, 384),
    'link q': (384, 384),
}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument('--json', type=Path, help='where to write all numbers')
    return parser.parse_args()


def measure(name: str, repeats: int) -> dict[str, float | str]:
    """Both libraries on one layer."""
    width, out = LAYERS[name]
    x = torch.randn(TOKENS, width)
    weight, bias = torch.randn(out, width), torch.randn(out)
    with torch.no_grad():
        runs = measure_in_turn(
            {
                'mkl': lambda: F.linear(x, weight, bias),
                'onednn': lambda: matmul.convolve(x, weight, bias),
            },
            repeats,
        )
    ms = {key: 1e3 * median_of(runs[key], 'cpu_s') for key in runs}
    return dict(
        layer=name,
        mkl_ms=ms['mkl'],
        onednn_ms=ms['onednn'],
        ratio=ms['onednn'] / ms['mkl'],
    )


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    rows = [measure(name, args.repeats) for name in LAYERS]
    facts = conditions(tokens=TOKENS, mkl_is_slow=matmul.mkl_is_slow())
    print(table(rows))
    print('products go to', 'oneDNN' if facts['mkl_is_slow'] else 'MKL')
    if args.json:
        report = dict(conditions=facts, measured=rows)
        args.json.write_text(json.dumps(report, indent=2))


if __name__ == '__main__':
    main()
