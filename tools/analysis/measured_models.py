# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the benchmarks of models share: subjects, steps, clocks."""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

SIZE = 224
MODELS = {
    'cast': ('cast_vit-base_k400', ('clip', 'videomae')),
    'cava': ('cava_vit-base_vggsound', ('clip', 'ast')),
    'ca2st': ('ca2st_vit-base_k400', ('clip', 'videomae', 'ast')),
}
MODES = ('forward', 'train')
# Switches of the backbone; `compile` and `bfloat16` also change the call.
SWITCHES = {
    'plain': {},
    'recompute': dict(activations='recompute'),
    'compile': {},
    'bfloat16': dict(frozen_dtype='bfloat16'),
    'recompute_bfloat16': dict(
        activations='recompute', frozen_dtype='bfloat16'
    ),
}
MATMUL_SIZE = 2048
Call = Callable[[], Any]
# By subject, `wall_s` and `cpu_s` of every run.
Runs = dict[str, list[dict[str, float]]]


def inputs_of(
    batch: int, frames: int = 16, spec_frames: int = 1024
) -> dict[str, Tensor]:
    """Random inputs of all streams."""
    times = torch.arange(frames).expand(batch, -1) / 6.0
    seconds = spec_frames / 100
    return dict(
        imgs=torch.randn(batch, 3, frames, SIZE, SIZE),
        audios=torch.randn(batch, 1, spec_frames, 128),
        imgs_times=times,
        audios_times=torch.tensor([[0.0, seconds]]).expand(batch, -1),
    )


def ours(
    name: str,
    batch: int = 1,
    switch: str = 'plain',
    frames: int = 16,
    spec_frames: int = 1024,
    links: int | None = None,
) -> tuple[nn.Module, Call]:
    """A recognizer of ours with random weights, and a call for its logits.

    Args:
        name: One of :data:`MODELS`.
        batch: Clips.
        switch: One of :data:`SWITCHES`.
        frames: Frames of a clip.
        spec_frames: Frames of the spectrogram, 100 a second.
        links: Keep the first so many links; None keeps all.
    """
    import ca2st_mm

    cfg = ca2st_mm.get_config(MODELS[name][0]).model.backbone
    experts = {'spatial': dict(num_frames=frames // 2)}
    if 'temporal' in cfg.experts:
        experts['temporal'] = dict(num_frames=frames)
    if 'audio' in cfg.experts:
        experts['audio'] = dict(
            spec_size=(spec_frames, 128), num_time_bins=frames // 2
        )
    changes = dict(SWITCHES[switch], experts=experts)
    if links is not None:
        changes['links'] = cfg.links[:links]
    model = ca2st_mm.get_model(MODELS[name][0], backbone=changes)
    if switch == 'compile':
        model.backbone.compile()
    inputs = inputs_of(batch, frames, spec_frames)
    streams = set(model.backbone.inputs.values())
    streams |= {f'{s}_times' for s in model.backbone.encoder_of}
    chosen = {key: inputs[key] for key in streams}
    half = 'frozen_dtype' in changes

    def call() -> Any:
        with torch.autocast('cpu', torch.bfloat16, half):
            return model.cls_head(model.backbone(**chosen))

    return model, call


def bare_expert(
    name: str, batch: int, spec_frames: int = 1024
) -> tuple[nn.Module, Call]:
    """An expert as the package transformers builds it, and a call of it."""
    import transformers

    inputs = inputs_of(batch, spec_frames=spec_frames)
    if name == 'clip':
        config = transformers.CLIPVisionConfig(patch_size=16)
        model = transformers.CLIPVisionModel(config)
        # The spatial expert reads every second frame.
        frames = inputs['imgs'][:, :, 1::2].transpose(1, 2).flatten(0, 1)
        return model.eval(), lambda: model(frames).pooler_output
    if name == 'videomae':
        model = transformers.VideoMAEModel(transformers.VideoMAEConfig())
        video = inputs['imgs'].transpose(1, 2)
        return model.eval(), lambda: model(video).last_hidden_state
    config = transformers.ASTConfig(max_length=spec_frames)
    model = transformers.ASTModel(config)
    spectrogram = inputs['audios'][:, 0]
    return model.eval(), lambda: model(spectrogram).pooler_output


def forward_step(call: Call) -> Call:
    """A forward pass without gradients."""

    def forward() -> None:
        with torch.no_grad():
            call()

    return forward


def train_step(model: nn.Module, call: Call) -> Call:
    """A forward and a backward pass."""

    def train() -> None:
        model.zero_grad(set_to_none=True)
        call().float().square().mean().backward()

    return train


def step_of(model: nn.Module, call: Call, mode: str) -> Call:
    """The step of a mode."""
    if mode == 'forward':
        return forward_step(call)
    return train_step(model, call)


def matmul_step() -> Call:
    """A product of two square matrices, to know the machine by."""
    a = torch.randn(MATMUL_SIZE, MATMUL_SIZE)
    return lambda: torch.mm(a, a)


def convolution_step() -> Call:
    """The same product by the library of convolutions, oneDNN."""
    image = torch.randn(1, MATMUL_SIZE, 1, MATMUL_SIZE).permute(0, 3, 1, 2)
    kernel = torch.randn(MATMUL_SIZE, MATMUL_SIZE, 1, 1)

    def convolve() -> None:
        with torch.no_grad():
            F.conv2d(image, kernel)

    return convolve


MATMUL_GMAC = MATMUL_SIZE**3 / 1e9


def measure_in_turn(steps: Mapping[str, Call], repeats: int) -> Runs:
    """Run all steps in turn, several times, after one run to warm up.

    Other jobs of the machine then slow all of them alike.
    """
    runs: Runs = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(repeats):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            runs[name].append(
                dict(
                    cpu_s=time.process_time() - cpu,
                    wall_s=time.perf_counter() - wall,
                )
            )
    return runs


def median_of(runs: Sequence[Mapping[str, float]], key: str) -> float:
    """Median of one number over all runs."""
    return statistics.median(run[key] for run in runs)


def peak_gib() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def count_gmac(step: Call) -> float:
    """Billions of multiply-accumulates of a step, backward pass and all."""
    # The counter knows attention by its parts only.
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        step()
    return counter.get_total_flops() / 2e9


def in_new_process(script: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``script --only JOB``: its memory and its noise are its own.

    Raises:
        SystemExit: If it fails; the end of its errors is shown.
    """
    text = json.dumps(job)
    print(f'{text} ...', file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, script, '--only', text],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f'{text} failed:\n{done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
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


def conditions(**facts: Any) -> dict[str, Any]:
    """What a table was measured with."""
    return dict(
        torch=torch.__version__, threads=torch.get_num_threads(), **facts
    )
