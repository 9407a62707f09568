# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Time and peak memory of CAST, CAVA and CA2ST.

Random weights and inputs.  Each row is measured in a process of its own: the
peak memory after two steps, then the time of a step.  In a forward pass on
the CPU the model, its bare experts as the package transformers builds them,
and a plain matrix product run in turn, so that other work of the machine
slows all of them alike; ``to_experts`` and ``to_matmul`` compare their CPU
seconds run by run (the latter at equal arithmetic)::

    ca2st report benchmark-models --json models.json
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import reports

MODELS = {
    'cast': ('cast_vit-base_k400', ('clip', 'videomae')),
    'cava': ('cava_vit-base_vggsound', ('clip', 'ast')),
    'ca2st': ('ca2st_vit-base_k400', ('clip', 'videomae', 'ast')),
}
MODES = ('forward', 'train')
SWITCHES = {
    'plain': {},
    'recompute': dict(activations='recompute'),
    'autocast': dict(frozen_dtype='float32'),
    'bfloat16': dict(frozen_dtype='bfloat16'),
    'recompute_bfloat16': dict(
        activations='recompute', frozen_dtype='bfloat16'
    ),
}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--models',
        nargs='+',
        choices=MODELS,
        default=list(MODELS),
        help='default: all',
    )
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=MODES,
        default=MODES,
        help='a forward pass, a step of training; default: both',
    )
    parser.add_argument(
        '--switches',
        nargs='+',
        choices=SWITCHES,
        default=['plain'],
        help='how memory is saved; default: plain, not at all',
    )
    parser.add_argument(
        '--batches',
        nargs='+',
        type=int,
        default=[1],
        help='numbers of clips at once; default: 1',
    )
    parser.add_argument(
        '--spec-frames',
        type=int,
        default=1024,
        help='frames of the spectrogram, 100 a second',
    )
    parser.add_argument(
        '--repeats',
        type=int,
        default=5,
        help='counted runs of each step; default: 5',
    )
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--json', type=Path, help='where to write all numbers')
    # One measurement, in the process that is told so.
    parser.add_argument('--only', type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

SIZE = 224
MATMUL_SIZE = 2048
MATMUL_GMAC = MATMUL_SIZE**3 / 1e9
Call = Callable[[], Any]
# By subject, `cpu_s` and `wall_s` of every run.
Runs = dict[str, list[dict[str, float]]]


def inputs_of(batch: int, spec_frames: int, device: str) -> dict[str, tuple]:
    """Random values and clock times of both streams: 16 frames, audio."""
    from ca2st_mm.structures import Stream

    seconds = torch.tensor([[0.0, spec_frames / 100]])
    streams = dict(
        imgs=Stream(
            torch.randn(batch, 3, 16, SIZE, SIZE),
            torch.arange(16).expand(batch, -1) / 6.0,
        ),
        audios=Stream(
            torch.randn(batch, 1, spec_frames, 128), seconds.expand(batch, -1)
        ),
    )
    return {n: s.map(lambda x: x.to(device)) for n, s in streams.items()}


def build(
    name: str, inputs: Mapping[str, tuple], **changes: Any
) -> tuple[nn.Module, Call]:
    """A recognizer with random weights, and a call for its logits.

    Args:
        name: One of ``MODELS``.
        inputs: Of :func:`inputs_of`.
        **changes: Arguments of the backbone.
    """
    import ca2st_mm

    audio = inputs['audios'].values
    experts = {}
    if name != 'cast':
        experts['audio'] = dict(spec_size=tuple(audio.shape[2:]))
    changes = dict(changes, experts=experts)
    model = ca2st_mm.get_model(MODELS[name][0], backbone=changes)
    model.to(audio.device)
    streams = {
        stream: inputs[stream] for stream in model.backbone.inputs.values()
    }
    mixed = 'frozen_dtype' in changes

    def call() -> Tensor:
        with torch.autocast(audio.device.type, torch.bfloat16, mixed):
            return model.cls_head(model.backbone(**streams))

    return model, call


def bare_expert(name: str, inputs: Mapping[str, tuple]) -> Call:
    """A call of an expert as the package transformers builds it."""
    import transformers

    video, audio = (inputs[key].values for key in ('imgs', 'audios'))
    if name == 'clip':
        config = transformers.CLIPVisionConfig(patch_size=16)
        model = transformers.CLIPVisionModel(config)
        # The spatial expert reads every second frame.
        values = video[:, :, 1::2].transpose(1, 2).flatten(0, 1)
    elif name == 'videomae':
        model = transformers.VideoMAEModel(transformers.VideoMAEConfig())
        values = video.transpose(1, 2)
    else:
        config = transformers.ASTConfig(max_length=audio.shape[2])
        model, values = transformers.ASTModel(config), audio[:, 0]
    model.eval().to(values.device)
    return lambda: model(values).last_hidden_state


def step_of(model: nn.Module, call: Call, mode: str) -> Call:
    """A forward pass without gradients, or a forward and a backward pass."""

    def forward() -> None:
        with torch.no_grad():
            call()

    def train() -> None:
        model.zero_grad(set_to_none=True)
        call().float().square().mean().backward()

    return forward if mode == 'forward' else train


def measure_in_turn(steps: Mapping[str, Call], repeats: int) -> Runs:
    """Run all steps in turn, several times, after one run to warm up."""
    runs: Runs = {name: [] for name in steps}
    wait = torch.cuda.synchronize if torch.cuda.is_available() else int
    for number in range(-1, repeats):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            wait()
            seconds = dict(
                cpu_s=time.process_time() - cpu,
                wall_s=time.perf_counter() - wall,
            )
            if number >= 0:
                runs[name].append(seconds)
    return runs


def share_of(runs: Runs, subject: str, others: Sequence[str]) -> float:
    """CPU seconds of a subject as a part of the sum of others, run by run."""
    sums = map(sum, zip(*(_cpu(runs[o]) for o in others), strict=True))
    pairs = zip(_cpu(runs[subject]), sums, strict=True)
    return median(ours / theirs for ours, theirs in pairs)


def _cpu(runs: Sequence[Mapping[str, float]]) -> list[float]:
    return [run['cpu_s'] for run in runs]


def count_gmac(step: Call) -> float:
    """Billions of multiply-accumulates of a step, backward pass and all."""
    # The counter knows attention by its parts only.
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        step()
    return counter.get_total_flops() / 2e9


def peak_gib(device: str) -> float:
    """Peak memory so far: of the GPU, or resident memory of the process."""
    if device != 'cpu':
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(
    subject: str,
    mode: str,
    switch: str,
    batch: int,
    repeats: int,
    spec_frames: int,
    device: str,
) -> dict[str, float | str]:
    """All numbers of one model in one mode, in this process."""
    torch.manual_seed(0)
    inputs = inputs_of(batch, spec_frames, device)
    model, call = build(subject, inputs, **SWITCHES[switch])
    steps = {subject: step_of(model, call, mode)}
    steps[subject]()
    steps[subject]()
    row = dict(
        model=subject,
        mode=mode,
        switch=switch,
        batch=batch,
        peak_gib=peak_gib(device),
    )
    compared = mode == 'forward' and device == 'cpu'
    if compared:
        a = torch.randn(MATMUL_SIZE, MATMUL_SIZE)
        steps['matmul'] = lambda: torch.mm(a, a)
        for expert in MODELS[subject][1]:
            bare = bare_expert(expert, inputs)
            steps[expert] = step_of(nn.Identity(), bare, mode)
    runs = measure_in_turn(steps, repeats)
    for key in ('cpu_s', 'wall_s'):
        row[key] = median(run[key] for run in runs[subject])
    row['gmac'] = count_gmac(steps[subject])
    if compared:
        row['to_experts'] = share_of(runs, subject, MODELS[subject][1])
        row['to_matmul'] = share_of(runs, subject, ['matmul']) * (
            MATMUL_GMAC / row['gmac']
        )
    return row


def in_new_process(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run this script with ``--only JOB``: its memory is its own.

    Raises:
        SystemExit: If it fails; the end of its errors is shown.
    """
    text = json.dumps(job)
    print(f'{text} ...', file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, __file__, '--only', text],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f'{text} failed:\n{done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    if args.only:
        print(json.dumps(measure(**args.only)))
        return
    facts = dict(
        repeats=args.repeats, spec_frames=args.spec_frames, device=args.device
    )
    rows = [
        in_new_process(
            dict(facts, subject=model, mode=mode, switch=switch, batch=batch)
        )
        for model in args.models
        for mode in args.modes
        for batch in args.batches
        for switch in args.switches
    ]
    print(reports.table(rows))
    reports.write(args.json, rows, **facts)


if __name__ == '__main__':
    main()
