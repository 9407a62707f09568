# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Write a model to a file that runs without this package.

Raw frames and spectrograms go in, logits of every view come out; the file
says in its metadata what it takes, the class names and the test's views::

    ca2st export configs/cast/cast_k400.py cast.safetensors \\
        --format onnx --out cast_k400.onnx --check

``--check`` compares the written file with the model, on several numbers of
views, and exits with 1 if any logit differs by more than the tolerance.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common_flags import new_parser, positive, whole
from mmengine.config import Config

RANDOM = 'random'
SUFFIXES = dict(onnx='.onnx', torch_export='.pt2')
# Half precision rounds every step; the numbers of `docs/export.md`.
TOLERANCES = dict(float32=1e-4, float16=2e-2)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add('config', help='config of the model')
    add(
        'checkpoint',
        help=f"its weights; '{RANDOM}' for random ones, to try the export",
    )
    add('--format', choices=SUFFIXES, default='onnx', help='of the file')
    add('--out', type=Path, help='file to write; named after the config')
    add(
        '--dtype',
        choices=TOLERANCES,
        default='float32',
        help='of weights and arithmetic; inputs and outputs are float32',
    )
    add(
        '--device',
        default='cpu',
        help='where the model is traced and checked; a torch_export file '
        'stays bound to it',
    )
    add('--check', action='store_true', help='compare file and model')
    add(
        '--batches',
        type=whole,
        nargs='+',
        metavar='VIEWS',
        help='numbers of views that --check tries; 1 2 5 if left out',
    )
    add(
        '--tolerance',
        type=positive,
        help='largest difference of a logit that --check accepts; '
        + ', '.join(f'{v:g} for {k}' for k, v in TOLERANCES.items()),
    )
    args = parser.parse_args()
    if not args.check and (args.batches or args.tolerance):
        parser.error('--batches and --tolerance are those of a --check')
    args.batches = args.batches or (1, 2, 5)
    suffix = SUFFIXES[args.format]
    args.out = args.out or Path(Path(args.config).stem + suffix)
    if args.out.suffix != suffix:
        parser.error(
            f'--format {args.format} writes {suffix} files; --out '
            f'is {args.out}'
        )
    args.tolerance = args.tolerance or TOLERANCES[args.dtype]
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import torch
from torch import nn

from ca2st_mm import Recognizer
from ca2st_mm.apis.prediction import names_of_model
from ca2st_mm.apis.sources import dataset_of
from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.engine.launch import read_config, run_or_explain, usable_device
from ca2st_mm.export import (
    FORMATS,
    ExportableRecognizer,
    GraphInput,
    check_packages,
    compare,
    describe,
    inputs_of,
    trace,
)
from ca2st_mm.utils.percent import percent


def load(
    args: argparse.Namespace, config: Config
) -> tuple[nn.Module, Mapping[str, Sequence[str]]]:
    """The model and its class names."""
    if args.checkpoint != RANDOM:
        recognizer = Recognizer.from_config(
            config, args.checkpoint, args.device
        )
        return recognizer.model, recognizer.class_names
    torch.manual_seed(0)
    model = build_model(config).to(args.device).eval()
    # Adapters and links start at zero: the logits would not depend on them.
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model, names_of_model(model.cls_head, {}, dataset_of(config))


def check(
    args: argparse.Namespace, model: nn.Module, inputs: Sequence[GraphInput]
) -> bool:
    """Print how far the written file is from the model; whether it passes."""
    run = FORMATS[args.format].read(args.out, args.device)
    print(
        f'{"views":>5}  {"output":8}{"largest difference":>20}'
        f'{"same best class":>17}'
    )
    passed = True
    for row in compare(model, run, inputs, args.batches):
        passed = passed and row.passes(args.tolerance)
        print(
            f'{row.views:>5}  {row.output:8}{row.difference:>20.2e}'
            f'{percent(row.agreement):>17}'
        )
    verdict = 'equal' if passed else 'NOT EQUAL'
    print(f'{verdict} within {args.tolerance:g} of a logit')
    return passed


def main() -> None:
    """Export, and check on ``--check``."""
    args = parse_args()
    form = FORMATS[args.format]
    check_packages(form)
    usable_device(args.device)
    config = read_config(args.config)
    model, class_names = load(args, config)
    inputs = inputs_of(model)
    module = ExportableRecognizer(model, inputs, getattr(torch, args.dtype))
    program = trace(module, inputs, args.device)
    checkpoint = None if args.checkpoint == RANDOM else args.checkpoint
    args.out.parent.mkdir(parents=True, exist_ok=True)
    form.write(
        program,
        args.out,
        describe(module, inputs, config, class_names, checkpoint),
    )
    print(f'{args.out.stat().st_size / 1e6:.1f} MB written to {args.out}')
    if args.check and not check(args, model, inputs):
        sys.exit(1)


if __name__ == '__main__':
    run_or_explain(main, FileNotFoundError, ValueError)
