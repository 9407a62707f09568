# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parameters and multiply-accumulates of a config, part by part.

``python tools/analysis/get_flops.py configs/cast/cast_k400.py`` builds the
model without numbers (on PyTorch's meta device), so it takes seconds and no
memory.  It takes any config of this package, lone experts as well, and counts
one view (of an image expert: one image).  ``--frames``, ``--size`` and
``--spec`` change the experts and the clip.

Attention is counted, elementwise work is not.  ``GMAC`` counts the model as
papers do; ``computed`` leaves out what no feature can see in the last layer,
which our models do not compute.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from other_sizes import resize
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from ca2st_mm.apis.models import build_model
from ca2st_mm.export.streams import known_streams

SIZES = ('frames', 'size', 'spec')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of a model')
    parser.add_argument('--frames', type=int, help='frames of a clip')
    parser.add_argument('--size', type=int, help='pixels of a side')
    parser.add_argument(
        '--spec', type=int, nargs=2, help='frames and mel bands of the sound'
    )
    parser.add_argument('--json', type=Path, help='where to write the table')
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'there is no config file {args.config}')
    for option in SIZES:
        value = getattr(args, option)
        if value is not None and min(np.ravel(value)) < 1:
            parser.error(f'--{option} is at least 1, got {value}')
    return args


class RatesStayNumbers(TorchFunctionMode):
    """Foreign ViTs read their drop path rates out of a tensor."""

    def __torch_function__(
        self,
        func: Callable,
        types: Any,
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> Any:
        """Keep ``torch.linspace`` on the CPU, where it has numbers."""
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs['device'] = 'cpu'
        return func(*args, **kwargs)


class Logits(nn.Module):
    """A recognizer whose forward goes from a clip to the logits."""

    def __init__(self, recognizer: nn.Module) -> None:
        super().__init__()
        self.recognizer = recognizer

    def forward(self, inputs: dict[str, Tensor] | Tensor) -> Tensor:
        """One view of one clip -> logits."""
        logits, _ = self.recognizer.extract_feat(inputs, stage='head')
        return logits


def inputs_of(recognizer: nn.Module) -> dict[str, Tensor] | Tensor:
    """One clip of one view, as the recognizer takes it.

    Raises:
        ValueError: If the backbone does not say what it reads.
    """
    streams = {
        name: torch.zeros(1, 1, *stream.shape)
        for name, stream in known_streams(recognizer.backbone).items()
        if not name.endswith('_present')  # all is there
    }
    if hasattr(recognizer.backbone, 'experts'):
        return streams
    [lone] = streams.values()
    return lone


def part_of(name: str) -> str:
    """The part of the model that a parameter or a module belongs to."""
    first, *steps = name.split('.')
    if first != 'backbone':
        return 'head'
    place = steps[0] if steps else ''
    if place == 'links':
        return f'link {steps[2]}'
    if place == 'time_encoders':
        return 'time encoders'
    owner = f'expert {steps[1]}' if place == 'experts' else 'backbone'
    has_adapter = not {'adapter', 'adapters'}.isdisjoint(steps)
    return f'{owner} adapters' if has_adapter else owner


def count_parameters(model: nn.Module) -> dict[str, dict[str, int]]:
    """All and trainable parameters by part; shared ones count once."""
    counts: dict = defaultdict(lambda: dict(parameters=0, trainable=0))
    for name, parameter in model.named_parameters():
        part = counts[part_of(name)]
        part['parameters'] += parameter.numel()
        part['trainable'] += parameter.numel() * parameter.requires_grad
    return dict(counts)


def leave_nothing_out(backbone: nn.Module) -> None:
    """Have a backbone compute what no feature can see, too."""
    if hasattr(backbone, 'leave_nothing_out'):
        backbone.leave_nothing_out()
    else:
        backbone.pools_positions = True  # a lone expert


def count_macs(
    model: nn.Module, inputs: dict[str, Tensor] | Tensor
) -> dict[str, float]:
    """Multiply-accumulates of one forward pass by part."""
    counter = FlopCounterMode(display=False)
    # The counter knows attention by its parts only.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        Logits(model)(inputs)
    called = {
        name.removeprefix('Logits.recognizer.'): sum(flops.values()) / 2
        for name, flops in counter.get_flop_counts().items()
        if name.startswith('Logits.recognizer.')
    }
    macs: dict[str, float] = defaultdict(float)
    for name, count in called.items():
        steps = name.split('.')
        around = ['.'.join(steps[:i]) for i in range(len(steps) - 1, 0, -1)]
        around = [part_of(outer) for outer in around if outer in called]
        if part_of(name) in around:
            continue
        macs[part_of(name)] += count
        if around:  # counted there as well
            macs[around[0]] -= count
    return {part: count for part, count in macs.items() if count}


def table(
    parameters: dict[str, dict],
    macs: dict[str, float],
    computed: dict[str, float],
) -> list[dict]:
    """A row for every part, and their sum."""
    rows = [
        dict(
            part=part,
            **parameters.get(part, dict(parameters=0, trainable=0)),
            macs=macs.get(part, 0.0),
            macs_computed=computed.get(part, 0.0),
        )
        for part in sorted({*parameters, *macs})
    ]
    total = {k: sum(row[k] for row in rows) for k in rows[0] if k != 'part'}
    return [*rows, dict(part='all', **total)]


def count(config: Config) -> list[dict]:
    """The table of a config, which loses its preprocessor.

    Raises:
        ValueError: If the parts of its model do not fit, or its backbone
            does not say what it reads.
    """
    config.model.pop('data_preprocessor', None)  # no part of the counts
    with torch.device('meta'):
        with RatesStayNumbers():
            model = build_model(config).eval().to('meta')
        inputs = inputs_of(model)
        computed = count_macs(model, inputs)
        leave_nothing_out(model.backbone)
        macs = count_macs(model, inputs)
    return table(count_parameters(model), macs, computed)


def main() -> None:
    """Count and print."""
    args = parse_args()
    config = Config.fromfile(args.config)
    if 'backbone' not in config.get('model', {}):
        raise SystemExit(f'{args.config} has no model with a backbone')
    try:
        resize(config.model, {name: getattr(args, name) for name in SIZES})
        rows = count(config)
    except ValueError as error:
        raise SystemExit(f'{args.config}: {error}') from error
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
