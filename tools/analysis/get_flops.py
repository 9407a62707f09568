# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Parameters and multiply-accumulates of a config, part by part.

``ca2st report get-flops configs/cast/cast_k400.py`` builds the
model without numbers (on PyTorch's meta device), so it takes seconds and no
memory.  It takes any config of this package, lone experts as well, and counts
one view (of an image expert: one image).  Of several configs it prints a line
each.  ``--frames``, ``--size`` and ``--spec`` change the experts and the clip.

Attention is counted, elementwise work is not.  ``GMAC`` counts the model as
papers do; ``computed`` leaves out what cannot reach a feature in the last
layer, which our models do not compute.
"""

import argparse
import inspect
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import reports
from common_flags import new_parser, whole
from mmengine.config import Config, ConfigDict


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add('configs', nargs='+', help='configs of models')
    add('--frames', type=whole, help='frames of a clip')
    add('--size', type=whole, help='pixels of a side')
    add('--spec', type=whole, nargs=2, help='frames and mel bands of audio')
    add('--json', type=Path, help='where to write the table')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.engine.launch import UsageError, read_config, run_or_explain
from ca2st_mm.export.graph import PRESENCE, inputs_of, streams_of
from ca2st_mm.models.backbones import TimmExpert, expert_config
from ca2st_mm.registry import MODELS
from ca2st_mm.structures import Stream

SIZES = 'frames', 'size', 'spec'
# Arguments of experts by the option that sets them.
OF_VIDEO = dict(frames='num_frames', size='img_size')
OF_AUDIO = dict(spec='spec_size')


def resize(model: ConfigDict, options: Mapping[str, Any]) -> None:
    """Change the experts of a model, in place, to clips of another size.

    Options are ``frames`` of a clip, ``size`` in pixels and ``spec``, the
    frames and mel bands of the spectrogram; those that are None stay.

    Raises:
        ValueError: If an expert cannot be changed, or no expert reads that.
    """
    if 'backbone' not in model:
        raise ValueError('its model has no backbone')
    backbone = model.backbone
    experts = backbone.get('experts', dict(backbone=backbone))
    for name, expert in experts.items():
        if isinstance(expert, str):
            experts[name] = ConfigDict(expert_config(expert))
    for option, value in options.items():
        if value is None:
            continue
        # A list: every expert is changed, whatever the others do.
        changed = [
            _resize_expert(name, expert, option, value)
            for name, expert in experts.items()
        ]
        if not any(changed):
            raise ValueError(
                f'no expert of this model reads what --{option} changes: '
                'leave it out'
            )


def _resize_expert(
    name: str, expert: ConfigDict, option: str, value: Any
) -> bool:
    """Whether an option concerns an expert, which then has the value."""
    found = MODELS.get(expert.type)
    if found is None:
        raise ValueError(
            f'{name} is of the unknown type {expert.type}: add the package '
            "that registers it to the config's custom_imports"
        )
    known = inspect.signature(found).parameters
    argument = (OF_AUDIO if 'spec_size' in known else OF_VIDEO).get(option)
    if argument is None:
        return False
    if argument not in known:
        raise ValueError(
            f'--{option} cannot change {name} ({expert.type}), which has no '
            f'argument {argument}: change the config instead'
        )
    if option == 'frames':  # of the clip; the expert may read a part
        if found is TimmExpert and 'num_frames' not in expert:
            return True  # one per time step of the others
        stride = expert.get('frame_stride', 1)
        if value % stride:
            raise ValueError(
                f'--frames {value} is no multiple of the frame_stride '
                f'{stride} of {name}'
            )
        value //= stride
    expert[argument] = value
    return True


class LinspaceOnCpu(TorchFunctionMode):
    """ViTs of other packages read drop path rates out of a tensor."""

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


def one_clip(recognizer: nn.Module) -> dict[str, Stream] | Tensor:
    """One clip of one view, zeros, as the recognizer takes it.

    Raises:
        ValueError: If the backbone does not say what it reads.
    """
    streams = streams_of(
        {
            one.name: torch.zeros(1, 1, *one.shape)
            for one in inputs_of(recognizer)
            if one.meaning != PRESENCE  # all is there
        }
    )
    if hasattr(recognizer.backbone, 'experts'):
        return streams
    [lone] = streams.values()
    return lone.values


def clips_of(
    recognizer: nn.Module, batch: int, device: str
) -> dict[str, Stream] | Tensor:
    """Random clips of one view, as the recognizer takes them."""

    def draw(one: Tensor) -> Tensor:
        return torch.rand(batch, *one.shape[1:], device=device)

    one = one_clip(recognizer)
    if isinstance(one, Tensor):
        return draw(one)
    return {name: stream.map(draw) for name, stream in one.items()}


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
    macs = Counter()
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


def count(config: Config) -> list[dict]:
    """A row for every part of a model, and their sum.

    Args:
        config: It loses its preprocessor, which is no part of the counts.

    Raises:
        ValueError: If the parts of its model do not fit, or its backbone
            does not say what it reads.
    """
    config.model.pop('data_preprocessor', None)
    with torch.device('meta'):
        with LinspaceOnCpu():
            model = build_model(config).eval().to('meta')
        inputs = one_clip(model)
        computed = count_macs(model, inputs)
        # As papers count: a feature of all patches needs all of the last
        # layer.
        experts = getattr(model.backbone, 'experts', dict(one=model.backbone))
        for expert in experts.values():
            expert.pools_patches = True
        macs = count_macs(model, inputs)
    parameters = count_parameters(model)
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


def main() -> None:
    """Count and print."""
    args = parse_args()
    rows = []
    for path in args.configs:
        config = read_config(path)
        sizes = {name: getattr(args, name) for name in SIZES}
        try:
            resize(config.model, sizes)
            parts = count(config)
        except UsageError:  # names the config
            raise
        except ValueError as error:
            raise UsageError(f'{path}: {error}') from error
        alone = len(args.configs) == 1
        rows += parts if alone else [dict(parts[-1], part=path)]
    columns = {
        'parameters, M': ('parameters', 1e6),
        'trained, M': ('trainable', 1e6),
        'GMAC': ('macs', 1e9),
        'computed': ('macs_computed', 1e9),
    }
    shown = [
        dict(part=row['part'])
        | {c: f'{row[key] / unit:.2f}' for c, (key, unit) in columns.items()}
        for row in rows
    ]
    print(reports.table(shown))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


if __name__ == '__main__':
    run_or_explain(main)
