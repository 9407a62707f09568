# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Time and memory of CAST, CAVA and CA2ST beside their bare experts.

Every line is measured in a process of its own, with random weights and
inputs.  The yardstick is the sum of the bare experts as the package
transformers builds them; machines differ, so CPU seconds also stand as a part
of what this machine's matrix product would need for the same arithmetic::

    python tools/analysis/benchmark_models.py --json benchmark.json
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

FRAMES, SIZE, SPEC = 16, 224, (1024, 128)
MODELS = {
    'cast': ('cast_vit-base_k400', ('clip', 'videomae')),
    'cava': ('cava_vit-base_vggsound', ('clip', 'ast')),
    'ca2st': ('ca2st_vit-base_k400', ('clip', 'videomae', 'ast')),
}
EXPERTS = ('clip', 'videomae', 'ast')
MODES = ('forward', 'train')
MATMUL_SIZE = 2048


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--models', nargs='+', choices=MODELS, default=list(MODELS)
    )
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--compile', action='store_true')
    parser.add_argument(
        '--recompute',
        action='store_true',
        help='keep no activations of halves and links for the backward pass',
    )
    parser.add_argument('--json', type=Path, help='where to write all numbers')
    parser.add_argument(
        '--baseline',
        type=Path,
        help="JSON of the reference models' cost to compare with",
    )
    # One measurement, in the process that is told so.
    parser.add_argument('--only', nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def inputs_of(batch: int) -> dict[str, Tensor]:
    """Random inputs of all streams."""
    times = torch.arange(FRAMES).expand(batch, -1) / 6.0
    return dict(
        imgs=torch.randn(batch, 3, FRAMES, SIZE, SIZE),
        audios=torch.randn(batch, 1, *SPEC),
        imgs_times=times,
        audios_times=torch.tensor([[0.0, 10.24]]).expand(batch, -1),
    )


def ours(
    name: str, batch: int, **backbone: str
) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A recognizer of ours, and a call that gives its logits."""
    import ca2st_mm

    model = ca2st_mm.get_model(name, backbone=backbone)
    inputs = inputs_of(batch)
    streams = set(model.backbone.inputs.values())
    streams |= {f'{s}_times' for s in model.backbone.encoder_of}
    chosen = {key: inputs[key] for key in streams}
    return model, lambda: model.cls_head(model.backbone(**chosen))


def bare_expert(
    name: str, batch: int
) -> tuple[nn.Module, Callable[[], Tensor]]:
    """An expert as transformers builds it, and a call of it."""
    import transformers

    inputs = inputs_of(batch)
    if name == 'clip':
        config = transformers.CLIPVisionConfig(patch_size=16)
        model = transformers.CLIPVisionModel(config)
        # The spatial expert reads every second frame.
        frames = inputs['imgs'][:, :, 1::2].transpose(1, 2).flatten(0, 1)
        return model, lambda: model(frames).pooler_output
    if name == 'videomae':
        model = transformers.VideoMAEModel(transformers.VideoMAEConfig())
        video = inputs['imgs'].transpose(1, 2)
        return model, lambda: model(video).last_hidden_state
    model = transformers.ASTModel(transformers.ASTConfig())
    spectrogram = inputs['audios'][:, 0]
    return model, lambda: model(spectrogram).pooler_output


def count_gmac(call: Callable[[], Tensor]) -> float:
    """Billions of multiply-accumulates of one forward pass."""
    # The counter knows attention by its parts only.
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        call()
    return counter.get_total_flops() / 2e9


def step_of(
    model: nn.Module, call: Callable[[], Tensor], mode: str
) -> Callable[[], None]:
    """What is timed: a forward pass, or forward and backward."""
    if mode == 'forward':

        def forward() -> None:
            with torch.no_grad():
                call()

        return forward

    def train() -> None:
        model.zero_grad(set_to_none=True)
        call().float().square().mean().backward()

    return train


def measure(step: Callable[[], None], repeats: int) -> dict[str, float]:
    """Median wall and CPU seconds after one run to warm up."""
    step()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return dict(wall_s=statistics.median(walls), cpu_s=statistics.median(cpus))


def matmul_rate(repeats: int = 5) -> float:
    """Billions of multiply-accumulates of float32 a CPU second."""
    a = torch.randn(MATMUL_SIZE, MATMUL_SIZE)
    seconds = measure(lambda: torch.mm(a, a), repeats)['cpu_s']
    return MATMUL_SIZE**3 / 1e9 / seconds


def measure_one(subject: str, mode: str, args: argparse.Namespace) -> dict:
    """All numbers of one subject in this process."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if subject in MODELS:
        switch = dict(activations='recompute') if args.recompute else {}
        model, call = ours(MODELS[subject][0], args.batch, **switch)
    else:
        model, call = bare_expert(subject, args.batch)
    model.eval()
    if mode == 'train' and subject in EXPERTS:
        # Fine-tuning an expert alone trains all of it.
        model.requires_grad_(True)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if args.compile:
        model.compile() if subject in EXPERTS else model.backbone.compile()
    before = matmul_rate()
    numbers = measure(step_of(model, call, mode), args.repeats)
    after = matmul_rate()
    rate = (before + after) / 2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # Counting takes memory of its own, so it comes last.
    gmac = count_gmac(call)
    return dict(
        subject=subject,
        mode=mode,
        **numbers,
        peak_rss_gib=peak,
        gmac=gmac,
        matmul_gmac_per_cpu_s=rate,
        matmul_cpu_s=gmac / rate,
        parameters=sum(p.numel() for p in model.parameters()),
        trainable=trainable,
    )


def measure_apart(subject: str, mode: str, args: argparse.Namespace) -> dict:
    """The same in a process of its own: its memory is its own, too."""
    options = {
        '--batch': args.batch,
        '--repeats': args.repeats,
        '--threads': args.threads,
    }
    command = [sys.executable, __file__, '--only', subject, mode]
    for flag, value in options.items():
        command += [flag, str(value)]
    for flag in ('compile', 'recompute'):
        if getattr(args, flag):
            command.append(f'--{flag}')
    print(f'{subject}, {mode} ...', file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{subject}, {mode} failed:\n{done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def compare(rows: list[dict], baseline: dict | None) -> list[dict]:
    """Ratios of every model to its bare experts and to the baseline."""
    by = {(row['subject'], row['mode']): row for row in rows}
    out = []
    for subject, (_, experts) in MODELS.items():
        for mode in MODES:
            row = by.get((subject, mode))
            if row is None:
                continue
            ratios = {}
            if mode == 'forward':
                parts = [by[expert, mode] for expert in experts]
                for key in ('cpu_s', 'wall_s', 'gmac'):
                    total = sum(part[key] for part in parts)
                    ratios[f'{key}_to_experts'] = row[key] / total
                ratios['part_of_matmul_peak'] = (
                    row['matmul_cpu_s'] / row['cpu_s']
                )
            if baseline:
                other = baseline[f'{subject}_base_single'][mode]
                for key in ('cpu_s', 'peak_rss_gib'):
                    theirs = other.get(key, other.get(f'{key}_median'))
                    ratios[f'{key}_to_baseline'] = row[key] / theirs
            out.append(dict(subject=subject, mode=mode, **ratios))
    return out


def table(rows: list[dict]) -> str:
    """Rows as a text table; numbers with three digits."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns] + [
        [
            f'{value:.3g}' if isinstance(value, float) else str(value)
            for value in (row.get(column, '-') for column in columns)
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return '\n'.join(
        '  '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))
        for line in cells
    )


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    if args.only:
        print(json.dumps(measure_one(*args.only, args)))
        return
    experts = [
        e for e in EXPERTS if any(e in MODELS[m][1] for m in args.models)
    ]
    jobs = [(m, mode) for m in args.models for mode in args.modes]
    if 'forward' in args.modes:
        jobs += [(expert, 'forward') for expert in experts]
    rows = [measure_apart(subject, mode, args) for subject, mode in jobs]
    baseline = json.loads(args.baseline.read_text()) if args.baseline else None
    ratios = compare(rows, baseline)
    print(table(rows), table(ratios), sep='\n\n')
    if args.json:
        facts = dict(
            torch=torch.__version__,
            threads=args.threads,
            batch=args.batch,
            compile=args.compile,
            recompute=args.recompute,
            dtype='float32',
        )
        report = dict(conditions=facts, measured=rows, ratios=ratios)
        args.json.write_text(json.dumps(report, indent=2))


if __name__ == '__main__':
    main()
