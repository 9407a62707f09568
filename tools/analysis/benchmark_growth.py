# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a forward pass costs as clip, sound, experts, links and batch grow.

Every point is CA2ST (or the model named) with one thing changed, random
weights, in a process of its own, in CPU seconds and in multiply-accumulates.
A matrix product runs in turn with the model; the curve is drawn at the rate
it had on average, so that the noise of the machine does not bend it::

    python tools/analysis/benchmark_growth.py --json cost.json --png cost.png
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
from measured_models import (
    MATMUL_GMAC,
    conditions,
    count_gmac,
    forward_step,
    in_new_process,
    matmul_step,
    measure_in_turn,
    median_of,
    ours,
    table,
)

# By axis: label of a point -> what is changed.
GROWTH = {
    'frames': {str(n): dict(name='cast', frames=n) for n in (8, 16, 32)},
    'seconds of sound': {
        f'{n / 100:.2f}': dict(name='cava', spec_frames=n)
        for n in (256, 512, 1024)
    },
    'links of CA2ST': {str(n): dict(name='ca2st', links=n) for n in range(4)},
    'model': {name: dict(name=name) for name in ('cast', 'cava', 'ca2st')},
    'batch': {str(n): dict(name='cast', batch=n) for n in (1, 2, 4)},
}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--axes', nargs='+', choices=GROWTH, default=list(GROWTH)
    )
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--json', type=Path, help='where to write all numbers')
    parser.add_argument('--png', type=Path, help='where to draw them')
    parser.add_argument('--only', type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(repeats: int, changes: dict) -> dict[str, float]:
    """Cost of one point, in this process."""
    torch.manual_seed(0)
    step = forward_step(ours(**changes)[1])
    runs = measure_in_turn(dict(model=step, matmul=matmul_step()), repeats)
    return dict(
        cpu_s=median_of(runs['model'], 'cpu_s'),
        gmac=count_gmac(step),
        matmul_gmac_per_cpu_s=MATMUL_GMAC / median_of(runs['matmul'], 'cpu_s'),
    )


def at_equal_rate(rows: list[dict]) -> list[dict]:
    """Add CPU seconds as if the machine had been equally fast throughout."""
    rate = statistics.mean(row['matmul_gmac_per_cpu_s'] for row in rows)
    return [
        dict(
            row,
            cpu_s_at_mean_rate=row['cpu_s']
            * row['matmul_gmac_per_cpu_s']
            / rate,
        )
        for row in rows
    ]


def draw(rows: list[dict], path: Path) -> None:
    """One panel an axis: CPU seconds and multiply-accumulates."""
    from matplotlib import pyplot as plt

    axes_names = list(dict.fromkeys(row['axis'] for row in rows))
    figure, panels = plt.subplots(
        1,
        len(axes_names),
        figsize=(3.1 * len(axes_names), 3.4),
        layout='constrained',
        squeeze=False,
    )
    for panel, name in zip(panels[0], axes_names, strict=True):
        points = [row for row in rows if row['axis'] == name]
        seconds = [row['cpu_s_at_mean_rate'] for row in points]
        panel.bar(
            [row['point'] for row in points], seconds, 0.6, color='#1b7f79'
        )
        for x, row in enumerate(points):
            panel.annotate(
                f'{row["gmac"]:.0f}',
                (x, seconds[x]),
                ha='center',
                va='bottom',
                fontsize=8,
            )
        panel.set_xlabel(name)
        panel.margins(y=0.12)
        panel.spines[['top', 'right']].set_visible(False)
    panels[0][0].set_ylabel('CPU seconds of a forward pass')
    figure.suptitle('on the bars: billions of multiply-accumulates')
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print, write and draw."""
    args = parse_args()
    if args.only:
        print(json.dumps(measure(**args.only)))
        return
    rows = at_equal_rate(
        [
            dict(
                axis=axis,
                point=point,
                **in_new_process(
                    __file__, dict(repeats=args.repeats, changes=changes)
                ),
            )
            for axis in args.axes
            for point, changes in GROWTH[axis].items()
        ]
    )
    print(table(rows))
    if args.json:
        report = dict(conditions=conditions(), measured=rows)
        args.json.write_text(json.dumps(report, indent=2))
    if args.png:
        draw(rows, args.png)


if __name__ == '__main__':
    main()
