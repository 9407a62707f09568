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
import itertools
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
from common_flags import new_parser, whole

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
    parser = new_parser(__doc__)
    add = parser.add_argument
    some = dict(nargs='+')
    add('--models', **some, choices=MODELS, default=[*MODELS], help='which')
    add('--modes', **some, choices=MODES, default=MODES, help='which steps')
    add(
        '--switches',
        **some,
        choices=SWITCHES,
        default=['plain'],
        help='how memory is saved',
    )
    add('--batches', **some, type=whole, default=[1], help='clips at once')
    add(
        '--spec-frames',
        type=whole,
        default=1024,
        help='frames of the spectrogram, 100 a second',
    )
    add('--repeats', type=whole, default=5, help='runs of each step')
    add('--device', default='cpu', help='cpu or cuda')
    add('--json', type=Path, help='where to write all numbers')
    # One measurement, in the process that is told so.
    add('--only', type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import torch
from get_flops import Logits, clips_of
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import ca2st_mm
from ca2st_mm.engine.launch import UsageError, run_or_explain
from ca2st_mm.structures import Stream

MATMUL_SIZE = 2048
MATMUL_GMAC = MATMUL_SIZE**3 / 1e9
Call = Callable[[], Any]
# By subject, `cpu_s` and `wall_s` of every run.
Runs = dict[str, list[dict[str, float]]]


def bare_expert(name: str, inputs: Mapping[str, Stream]) -> Call:
    """A call of an expert as the package transformers builds it."""
    import transformers

    if name == 'clip':
        config = transformers.CLIPVisionConfig(patch_size=16)
        model = transformers.CLIPVisionModel(config)
        # The spatial expert reads every second frame.
        frames = inputs['imgs'].values[:, 0, :, 1::2]
        values = frames.transpose(1, 2).flatten(0, 1)
    elif name == 'videomae':
        model = transformers.VideoMAEModel(transformers.VideoMAEConfig())
        values = inputs['imgs'].values[:, 0].transpose(1, 2)
    else:
        values = inputs['audios'].values[:, 0, 0]
        config = transformers.ASTConfig(max_length=values.shape[1])
        model = transformers.ASTModel(config)
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
    """Run all steps in turn, several times, after two runs to warm up."""
    runs: Runs = {name: [] for name in steps}
    wait = torch.cuda.synchronize if torch.cuda.is_available() else int
    for number in range(-2, repeats):
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
    by_run = zip(*(runs[name] for name in (subject, *others)), strict=True)
    return median(
        ours['cpu_s'] / sum(other['cpu_s'] for other in theirs)
        for ours, *theirs in by_run
    )


def count_gmac(step: Call) -> float:
    """Billions of multiply-accumulates of a step, backward pass and all."""
    # The counter knows attention by its parts only.
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        step()
    return counter.get_total_flops() / 2e9


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
    name, experts = MODELS[subject]
    changes: dict[str, Any] = dict(SWITCHES[switch], experts={})
    if 'ast' in experts:
        changes['experts']['audio'] = dict(spec_size=(spec_frames, 128))
    model = ca2st_mm.get_model(name, backbone=changes).to(device)
    inputs, logits = clips_of(model, batch, device), Logits(model)
    mixed, kind = 'frozen_dtype' in changes, torch.device(device).type

    def call() -> Tensor:
        with torch.autocast(kind, torch.bfloat16, mixed):
            return logits(inputs)

    steps = {subject: step_of(model, call, mode)}
    steps[subject]()
    steps[subject]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if kind != 'cpu':
        peak = torch.cuda.max_memory_allocated() / 2**30
    row = dict(
        model=subject, mode=mode, switch=switch, batch=batch, peak_gib=peak
    )
    compared = mode == 'forward' and kind == 'cpu'
    if compared:
        a = torch.randn(MATMUL_SIZE, MATMUL_SIZE)
        steps['matmul'] = lambda: torch.mm(a, a)
        for expert in experts:
            bare = bare_expert(expert, inputs)
            steps[expert] = step_of(nn.Identity(), bare, mode)
    runs = measure_in_turn(steps, repeats)
    for key in ('cpu_s', 'wall_s'):
        row[key] = median(run[key] for run in runs[subject])
    row['gmac'] = count_gmac(steps[subject])
    if compared:
        row['to_experts'] = share_of(runs, subject, experts)
        row['to_matmul'] = share_of(runs, subject, ['matmul']) * (
            MATMUL_GMAC / row['gmac']
        )
    return row


def in_new_process(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run this script with ``--only JOB``: its memory is its own.

    Raises:
        UsageError: If it fails; the end of its errors is shown.
    """
    text = json.dumps(job)
    print(f'{text} ...', file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, __file__, '--only', text],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UsageError(f'{text} failed:\n{done.stderr[-2000:]}')
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
        for model, mode, batch, switch in itertools.product(
            args.models, args.modes, args.batches, args.switches
        )
    ]
    print(reports.table(rows))
    reports.write(args.json, rows, **facts)


if __name__ == '__main__':
    run_or_explain(main)
