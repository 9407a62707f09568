# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parameters and multiply-accumulates of a config, part by part.

``python tools/analysis/get_flops.py configs/cast/cast_k400.py`` builds the
model without numbers (on PyTorch's meta device), so it takes seconds and no
memory.  Attention is counted, elementwise work is not.  ``GMAC`` counts the
model as papers do; ``computed`` leaves out what no feature can see in the
last layer, which our models do not compute.
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ca2st_mm.apis.models import build_model

# Modules that the backbone calls: the steps of experts, links, encoders.
CALLED = re.compile(
    r'experts\.\w+\.(patch_embed|layers\.\d+\.(attention|ffn))'
    r'|links\.\d+\.\w+|time_encoders\.\w+'
)
ADAPTER = re.compile(r'experts\..+\.adapter')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of a multi-expert model')
    parser.add_argument('--frames', type=int, default=16)
    parser.add_argument('--size', type=int, default=224, help='pixels')
    parser.add_argument(
        '--spec', type=int, nargs=2, help='frames and mel bands of the sound'
    )
    parser.add_argument('--json', type=Path, help='where to write the table')
    return parser.parse_args()


def inputs_of(model: nn.Module, args: argparse.Namespace) -> dict[str, Tensor]:
    """One clip of every stream that the backbone reads."""
    backbone = model.backbone
    shapes = dict(imgs=(1, 3, args.frames, args.size, args.size))
    times = dict(imgs=(1, args.frames), audios=(1, 2))
    for name, stream in backbone.inputs.items():
        spec = getattr(backbone.experts[name], 'spec_size', None)
        if spec is not None:
            shapes[stream] = (1, 1, *(args.spec or spec))
    streams = {s: shapes[s] for s in set(backbone.inputs.values())}
    streams |= {f'{s}_times': times[s] for s in backbone.encoder_of}
    return {name: torch.zeros(shape) for name, shape in streams.items()}


def part_of(name: str) -> str:
    """The part of the model that a parameter or a module belongs to."""
    steps = name.removeprefix('backbone.').split('.')
    if steps[0] == 'experts':
        kind = ' adapters' if 'adapter' in steps else ''
        return f'expert {steps[1]}{kind}'
    if steps[0] == 'links':
        return f'link {steps[2]}'
    return 'time encoders' if steps[0] == 'time_encoders' else 'head'


def count_parameters(model: nn.Module) -> dict[str, dict[str, int]]:
    """All and trainable parameters by part; shared ones count once."""
    counts: dict = defaultdict(lambda: dict(parameters=0, trainable=0))
    for name, parameter in model.named_parameters():
        part = counts[part_of(name)]
        part['parameters'] += parameter.numel()
        part['trainable'] += parameter.numel() * parameter.requires_grad
    return dict(counts)


def count_macs(
    model: nn.Module, inputs: dict[str, Tensor]
) -> dict[str, float]:
    """Multiply-accumulates of one forward pass by part."""
    counter = FlopCounterMode(display=False)
    # The counter knows attention by its parts only.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model.cls_head(model.backbone(**inputs))
    macs: dict[str, float] = defaultdict(float)
    for module, flops in counter.get_flop_counts().items():
        name = module.partition('.')[2]
        if CALLED.fullmatch(name):
            macs[part_of(name)] += sum(flops.values()) / 2
        if ADAPTER.fullmatch(name):
            expert = part_of(name).removesuffix(' adapters')
            macs[part_of(name)] += sum(flops.values()) / 2
            macs[expert] -= sum(flops.values()) / 2
    macs['head'] = counter.get_total_flops() / 2 - sum(macs.values())
    return dict(macs)


def table(
    parameters: dict[str, dict],
    macs: dict[str, float],
    computed: dict[str, float],
) -> list[dict]:
    """A row for every part, and their sum."""
    rows = [
        dict(
            part=part,
            **counts,
            macs=macs.get(part, 0.0),
            macs_computed=computed.get(part, 0.0),
        )
        for part, counts in sorted(parameters.items())
    ]
    total = {k: sum(row[k] for row in rows) for k in rows[0] if k != 'part'}
    return [*rows, dict(part='all', **total)]


def main() -> None:
    """Count and print."""
    args = parse_args()
    config = Config.fromfile(args.config)
    config.model.pop('data_preprocessor', None)  # neither counts nor is meta
    with torch.device('meta'):
        model = build_model(config).eval().to('meta')
        inputs = inputs_of(model, args)
        computed = count_macs(model, inputs)
        model.backbone.leave_nothing_out()
        macs = count_macs(model, inputs)
    rows = table(count_parameters(model), macs, computed)
    print(
        f'{"part":<28}{"parameters, M":>15}{"trained, M":>12}{"GMAC":>9}'
        f'{"computed":>10}'
    )
    for row in rows:
        millions = row['parameters'] / 1e6, row['trainable'] / 1e6
        print(
            f'{row["part"]:<28}{millions[0]:>15.2f}{millions[1]:>12.2f}'
            f'{row["macs"] / 1e9:>9.2f}{row["macs_computed"] / 1e9:>10.2f}'
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


if __name__ == '__main__':
    main()
