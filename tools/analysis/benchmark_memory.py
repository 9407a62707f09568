# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Peak memory of a step by model, batch and switch.

Each cell is the largest resident memory of a process of its own that builds
the model (random weights), runs the step twice and nothing else; ``imports``
is what the process holds before the model is built::

    python tools/analysis/benchmark_memory.py --batches 1 2 --json memory.json
"""

import argparse
import json
from pathlib import Path

import torch
from measured_models import (
    MODELS,
    MODES,
    SWITCHES,
    conditions,
    in_new_process,
    ours,
    peak_gib,
    step_of,
    table,
)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--models', nargs='+', choices=MODELS, default=list(MODELS)
    )
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES)
    parser.add_argument('--batches', nargs='+', type=int, default=[1])
    parser.add_argument(
        '--spec-frames',
        type=int,
        default=1024,
        help='frames of the spectrogram, 100 a second',
    )
    parser.add_argument(
        '--switches',
        nargs='+',
        choices=SWITCHES,
        default=['plain', 'recompute', 'bfloat16', 'recompute_bfloat16'],
    )
    parser.add_argument('--json', type=Path, help='where to write all numbers')
    parser.add_argument('--only', type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(
    subject: str, mode: str, batch: int, switch: str, spec_frames: int
) -> dict:
    """Peak memory of one step in this process."""
    import ca2st_mm  # noqa: F401

    imports = peak_gib()
    torch.manual_seed(0)
    model, call = ours(subject, batch, switch, spec_frames=spec_frames)
    step = step_of(model, call, mode)
    step()
    step()
    return dict(
        model=subject,
        mode=mode,
        batch=batch,
        switch=switch,
        imports_gib=imports,
        peak_gib=peak_gib(),
    )


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    if args.only:
        print(json.dumps(measure(**args.only)))
        return
    rows = [
        in_new_process(
            __file__,
            dict(
                subject=model,
                mode=mode,
                batch=batch,
                switch=switch,
                spec_frames=args.spec_frames,
            ),
        )
        for model in args.models
        for mode in args.modes
        for batch in args.batches
        for switch in args.switches
    ]
    print(table(rows))
    if args.json:
        report = dict(
            conditions=conditions(spec_frames=args.spec_frames), measured=rows
        )
        args.json.write_text(json.dumps(report, indent=2))


if __name__ == '__main__':
    main()
