# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Throughput of a model on a GPU, in one run of at most some minutes.

Random weights and inputs, bfloat16 where the hardware multiplies it.  For
every batch size, forward passes and training steps, eager and compiled: clips
per second, peak memory, and the arithmetic as a share of what a plain matrix
product of the same precision reaches in the same run.  Then the kernels of one
training step, those of attention by name, and, with --loader, how many samples
per second the train dataloader of the config delivers::

    ca2st report benchmark-gpu configs/ca2st/ca2st_k400.py \\
        --batches 1 4 16 --json gpu.json

A batch that does not fit is said to; so is what the time did not allow.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import reports
from common_flags import PRECISIONS, new_parser, positive, whole


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    default = str(reports.TOOLS.parent / 'configs/ca2st/ca2st_k400.py')
    add('config', nargs='?', default=default, help='CA2ST if left out')
    add(
        '--batches',
        nargs='+',
        type=whole,
        default=[1, 4, 16],
        help='numbers of clips at once',
    )
    add(
        '--compile',
        nargs='+',
        choices=['off', 'on'],
        default=['off', 'on'],
        help='without and with torch.compile',
    )
    add(
        '--precision',
        choices=PRECISIONS,
        default='auto',
        help='arithmetic of matrix products',
    )
    add('--device', help='cuda or cpu; the best if left out')
    add('--repeats', type=whole, default=10, help='steps that are timed')
    add(
        '--minutes',
        type=positive,
        default=8.0,
        help='nothing is begun after these',
    )
    add(
        '--loader',
        action='store_true',
        help="measure the config's train dataloader too; needs its data",
    )
    add('--json', type=Path, help='where to write all numbers')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import torch
from benchmark_models import MODES, count_gmac, measure_in_turn, step_of
from get_flops import Logits, clips_of
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ca2st_mm.apis.models import build_model
from ca2st_mm.engine.launch import UsageError, read_config, run_or_explain
from ca2st_mm.engine.precision import autocast, choose_precision
from ca2st_mm.utils.building import building

MATMUL_SIZE = dict(cuda=8192, cpu=1024)
ATTENTION = ('flash', 'fmha', 'attention', 'sdp')  # parts of kernel names
LOADER_BATCHES = 20
Call = Callable[[], Any]


def call_of(model: nn.Module, inputs: Any, context: Any) -> Call:
    """A call for the logits (B, C) in a precision; those of tasks joined."""

    def call() -> Tensor:
        with context:
            scores = model(inputs)
        if isinstance(scores, Mapping):
            return torch.cat(list(scores.values()), dim=1)
        return scores

    return call


def seconds_of(step: Call, repeats: int) -> float:
    """Median wall seconds of a call."""
    [runs] = measure_in_turn(dict(step=step), repeats).values()
    return median(run['wall_s'] for run in runs)


def matmul_tflops(precision: str, repeats: int, device: str) -> float:
    """10^12 operations per second of a large square matrix product."""
    size = MATMUL_SIZE[device]
    dtype = getattr(torch, precision)
    a = torch.randn(size, size, device=device, dtype=dtype)
    seconds = seconds_of(lambda: a @ a, repeats)
    return 2 * size**3 / seconds / 1e12


def measure(
    model: nn.Module,
    inputs: Any,
    context: Any,
    peak_tflops: float,
    args: argparse.Namespace,
    **row: Any,
) -> dict[str, Any]:
    """One row of the table: speed, memory and share of the arithmetic."""
    device = args.device
    model.train(row['mode'] == 'train')
    torch._dynamo.reset()
    step = step_of(model, call_of(model, inputs, context), row['mode'])
    flop = 2 * count_gmac(step) / 1e3
    if row['compile'] == 'on':
        compiled = torch.compile(model, fullgraph=row['mode'] == 'forward')
        call = call_of(compiled, inputs, context)
        step = step_of(model, call, row['mode'])
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(step, args.repeats)
    row.update(clips_s=row['batch'] / seconds, tflops=flop / seconds)
    row['share_of_matmul'] = row['tflops'] / peak_tflops
    if device == 'cuda':
        row['peak_gib'] = torch.cuda.max_memory_allocated() / 2**30
    return row


def kernels_of(step: Call, device: str, count: int = 10) -> list[dict]:
    """The kernels that take most time, and all of attention."""
    activities = [ProfilerActivity.CPU]
    if device == 'cuda':
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as found:
        step()
    key = f'self_{"device" if device == "cuda" else "cpu"}_time_total'
    rows = [(event.key, getattr(event, key)) for event in found.key_averages()]
    rows = sorted((row for row in rows if row[1]), key=lambda row: -row[1])
    total = sum(time for _, time in rows)
    return [
        dict(kernel=name, share=time / total)
        for place, (name, time) in enumerate(rows)
        if place < count or any(part in name.lower() for part in ATTENTION)
    ]


def loader_rate(cfg: Config) -> float:
    """Samples per second of the train dataloader, after its first batch."""
    try:
        with building(cfg):
            loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    except FileNotFoundError as error:
        raise UsageError(
            f'--loader needs the training data of the config: {error}'
        ) from error
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    sizes = [
        len(batch['data_samples'])
        for batch in itertools.islice(batches, LOADER_BATCHES)
    ]
    return sum(sizes) / (time.perf_counter() - start)


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    end = time.monotonic() + 60 * args.minutes
    args.device = args.device or get_device()
    if args.device.startswith('cuda:'):
        torch.cuda.set_device(args.device)
        args.device = 'cuda'
    precision = choose_precision(args.precision, args.device)
    context = autocast(precision, args.device)
    cfg, config = read_config(args.config), Path(args.config).stem
    recognizer = build_model(cfg).to(args.device)
    model = Logits(recognizer)
    name = 'CPU'
    if args.device == 'cuda':
        name = torch.cuda.get_device_name()
    peak = matmul_tflops(precision, args.repeats, args.device)
    print(f'{config} in {precision} on {name}')
    print(f'plain matrix product: {peak:.3g} TFLOP/s')
    facts = dict(config=config, device=name, precision=precision)
    if args.loader:
        facts['loader_samples_s'] = loader_rate(cfg)
        print(f'train dataloader: {facts["loader_samples_s"]:.3g} samples/s')
    rows = []
    for batch, mode, compiled in itertools.product(
        args.batches, MODES, args.compile
    ):
        row = dict(batch=batch, mode=mode, compile=compiled)
        if time.monotonic() > end:
            rows.append(dict(row, note='no time left'))
            continue
        try:
            inputs = clips_of(recognizer, batch, args.device)
            rows.append(measure(model, inputs, context, peak, args, **row))
        except torch.OutOfMemoryError:
            rows.append(dict(row, note='out of memory'))
            torch.cuda.empty_cache()
    print(reports.table(rows))
    inputs = clips_of(recognizer, args.batches[0], args.device)
    step = step_of(model.train(), call_of(model, inputs, context), 'train')
    kernels = kernels_of(step, args.device)
    print(reports.table(kernels))
    facts.update(matmul_tflops=peak, kernels=kernels)
    reports.write(args.json, rows, **facts)


if __name__ == '__main__':
    run_or_explain(main)
