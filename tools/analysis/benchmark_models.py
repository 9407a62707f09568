# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Time of CAST, CAVA and CA2ST beside their bare experts.

Random weights and inputs.  The yardstick is the sum of the bare experts as
the package transformers builds them; a model, its experts and a plain matrix
product run in turn in one process, so that the noise of the machine hits all
of them alike.  Machines differ: CPU seconds also stand as a part of what this
machine would need for the same arithmetic at the rate of one large product, by
MKL or by oneDNN, whichever is faster here.  A switch, such as
``--switch compile``, is compared with the model without it::

    python tools/analysis/benchmark_models.py --json models.json
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from measured_models import (
    MATMUL_GMAC,
    MODELS,
    MODES,
    SWITCHES,
    Runs,
    bare_expert,
    conditions,
    convolution_step,
    count_gmac,
    forward_step,
    in_new_process,
    matmul_step,
    measure_in_turn,
    median_of,
    ours,
    step_of,
    table,
)

# The rate of the machine that the baseline was measured on, as its authors
# state it: "about 100 GFLOP per CPU second".
BASELINE_GMAC_PER_CPU_S = 50.0


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--models', nargs='+', choices=MODELS, default=list(MODELS)
    )
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES)
    parser.add_argument('--switch', choices=SWITCHES, default='plain')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument(
        '--spec-frames',
        type=int,
        default=1024,
        help='frames of the spectrogram, 100 a second',
    )
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--json', type=Path, help='where to write all numbers')
    parser.add_argument(
        '--baseline',
        type=Path,
        help="JSON of the reference models' cost to compare with",
    )
    # One measurement, in the process that is told so.
    parser.add_argument('--only', type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(
    subject: str,
    mode: str,
    batch: int,
    switch: str,
    repeats: int,
    spec_frames: int = 1024,
) -> dict[str, float | str]:
    """All numbers of one model in one mode."""
    torch.manual_seed(0)
    model, call = ours(subject, batch, switch, spec_frames=spec_frames)
    plain, plain_call = model, call
    if switch != 'plain':
        plain, plain_call = ours(subject, batch, spec_frames=spec_frames)
    steps = {
        subject: step_of(model, call, mode),
        'matmul': matmul_step(),
        'convolution': convolution_step(),
    }
    if switch != 'plain':
        steps['plain'] = step_of(plain, plain_call, mode)
    experts = MODELS[subject][1] if mode == 'forward' else ()
    for expert in experts:
        bare = bare_expert(expert, batch, spec_frames)
        steps[expert] = forward_step(bare[1])
    runs = measure_in_turn(steps, repeats)
    gmac_step = count_gmac(step_of(plain, plain_call, mode))
    gmac_forward = count_gmac(forward_step(plain_call))
    plain.backbone.leave_nothing_out()
    row = dict(
        model=subject,
        mode=mode,
        cpu_s=median_of(runs[subject], 'cpu_s'),
        wall_s=median_of(runs[subject], 'wall_s'),
        gmac_step=gmac_step,
        gmac_forward=gmac_forward,
        gmac_as_papers_count=count_gmac(forward_step(plain_call)),
        matmul_gmac_per_cpu_s=MATMUL_GMAC / median_of(runs['matmul'], 'cpu_s'),
        convolution_gmac_per_cpu_s=MATMUL_GMAC
        / median_of(runs['convolution'], 'cpu_s'),
        # The peak of the machine is what the faster library reaches.
        part_of_peak=statistics.median(
            gmac_step
            / run['cpu_s']
            * min(a['cpu_s'], b['cpu_s'])
            / MATMUL_GMAC
            for run, a, b in zip(
                runs[subject], runs['matmul'], runs['convolution'], strict=True
            )
        ),
    )
    if switch != 'plain':
        row |= beside(runs, subject, ['plain'], 'plain')
    if experts:
        row |= beside(runs, subject, experts, 'experts')
    return row


def beside(
    runs: Runs, subject: str, others: Sequence[str], name: str
) -> dict[str, float]:
    """Time of a subject as a part of the sum of others, run by run."""
    return {
        f'{key}_to_{name}': statistics.median(
            run[key] / sum(runs[other][i][key] for other in others)
            for i, run in enumerate(runs[subject])
        )
        for key in ('cpu_s', 'wall_s')
    }


def beside_baseline(row: dict, baseline: dict) -> dict:
    """A row with its time as a part of the reference model's.

    The baseline was measured twice.  At equal arithmetic, should the lengths
    of the sounds differ, and also as if both machines had multiplied matrices
    equally fast.
    """
    other = baseline[f'{row["model"]}_base_single']
    theirs = other['flops']['gmac_with_fused_attention_of_the_spatial_expert']
    rate = row['matmul_gmac_per_cpu_s'] / BASELINE_GMAC_PER_CPU_S
    row = dict(row)
    for name, key in ('first', ''), ('second', '_second_measurement'):
        ratio = row['cpu_s'] / other[row['mode'] + key]['cpu_s_median']
        ratio *= theirs / row['gmac_as_papers_count']
        row[f'cpu_s_to_{name}_baseline'] = ratio
        row[f'{name}_at_equal_matmul_rate'] = ratio * rate
    return row


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    if args.only:
        print(json.dumps(measure(**args.only)))
        return
    facts = dict(
        batch=args.batch,
        switch=args.switch,
        repeats=args.repeats,
        spec_frames=args.spec_frames,
    )
    rows = [
        in_new_process(__file__, dict(facts, subject=model, mode=mode))
        for model in args.models
        for mode in args.modes
    ]
    if args.baseline:
        baseline = json.loads(args.baseline.read_text())
        rows = [beside_baseline(row, baseline) for row in rows]
    print(table(rows))
    if args.json:
        report = dict(conditions=conditions(**facts), measured=rows)
        args.json.write_text(json.dumps(report, indent=2))


if __name__ == '__main__':
    main()
