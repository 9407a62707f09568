# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Accuracy of a model on corrupted clips.

    python tools/analysis/robustness.py CONFIG CHECKPOINT

tests the model on the same clips as they are, with each cause of corruption
(wind, rain, ...) at five strengths, in video, in audio and in both; with
audio that comes later; without a modality; and with the audio of another
clip.  It prints a table and writes all as JSON and a figure.
"""

import argparse
import copy
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from reports import add_clip_options, table

# Transforms for the papers' tables of robustness, and their titles.
PAPERS = dict(
    AddAudioNoise='white noise, 20 to 0 dB',
    AddPeakedNoise="the authors' pink noise, 20 to 0 dB",
    AddPinkNoise='1/f noise, 20 to 0 dB',
    RollAudio='rolled by up to 0.4 to 2 s',
    MuteAudio='20 to 100 % missing',
)
# Audio tokens that the other experts cannot read, and their shares.
MASKED, SHARES = 'masked tokens', (0.2, 0.4, 0.6, 0.8, 0.95)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config', help='config of a model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        '--causes',
        nargs='*',
        help="causes of Corrupt; 'papers' for the noises, shift, missing "
        'audio and masked audio\ntokens of the papers; or types of other '
        'transforms of audio that take strength\nand seed; all of Corrupt if '
        'left out',
    )
    parser.add_argument(
        '--strengths', nargs='+', type=int, default=[1, 2, 3, 4, 5]
    )
    parser.add_argument(
        '--desync',
        nargs='*',
        type=float,
        default=[-500, -200, -100, 100, 200, 500],
        metavar='MS',
        help='by how many milliseconds audio comes later',
    )
    parser.add_argument(
        '--manifest',
        help="annotation file in the config's test data folder; the config's "
        'test file if left out',
    )
    add_clip_options(parser)
    parser.add_argument(
        '--out', default='robustness', help='outputs without extension'
    )
    args = parser.parse_args()
    if not set(args.strengths) <= set(range(1, 6)):
        parser.error('--strengths are 1 to 5')
    if args.causes and 'papers' in args.causes:
        at = args.causes.index('papers')
        args.causes[at : at + 1] = [*PAPERS, MASKED]
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
import torch
from clip_reports import (
    OTHER_AUDIO,
    clips_of,
    recognizer_of,
    with_other_audio,
    write_details,
)

from ca2st_mm import Recognizer
from ca2st_mm.apis.modality_contributions import MODALITIES
from ca2st_mm.apis.recognizer import AUDIO, unbatched
from ca2st_mm.apis.sources import dataset_of
from ca2st_mm.datasets.transforms import CAUSES
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.evaluation.coalitions import paired_test
from ca2st_mm.registry import TRANSFORMS
from ca2st_mm.visualization.style import (
    INK,
    colour_of,
    new_figure,
    save,
    tidy,
)

CLEAN = 'as they are'
LATE = 'desynchronised'
# Whether clips are classified correctly: by task, by number of the clip.
Hits = dict[str, dict[int, bool]]


def with_step(
    pipeline: Sequence[Mapping], step: Mapping, place: str
) -> list[Mapping]:
    """A pipeline with a corruption at its place.

    Args:
        pipeline: Configs of transforms.
        step: The corruption.
        place: 'video' for before ``FormatShape``, 'audio' for after
            ``LoadAudio``.
    """
    types = [str(one['type']) for one in pipeline]
    at = (
        types.index('LoadAudio') + 1
        if place == 'audio'
        else types.index('FormatShape')
    )
    return [*pipeline[:at], step, *pipeline[at:]]


def conditions(
    pipeline: Sequence[Mapping], args: argparse.Namespace
) -> Iterator[tuple[tuple[str, str, Any], list[Mapping]]]:
    """What is tested: (cause, modality, strength), and the pipeline."""
    types = {str(step['type']) for step in pipeline}
    has = dict(video='FormatShape' in types, audio='LoadAudio' in types)
    there = [modality for modality, known in has.items() if known]
    chosen = CAUSES if args.causes is None else args.causes
    for cause in chosen:
        if cause == MASKED:
            continue
        ways = [[one] for one in there if cause in CAUSES or one == 'audio']
        if cause in CAUSES and len(there) == 2:
            ways.append(there)
        for modalities in ways:
            for strength in args.strengths:
                changed = list(pipeline)
                for modality in modalities:
                    step = dict(type=cause, strength=strength, seed=args.seed)
                    if cause in CAUSES:
                        step.update(
                            type='Corrupt', cause=cause, modalities=[modality]
                        )
                    changed = with_step(changed, step, modality)
                yield (cause, ' + '.join(modalities), strength), changed
    if len(there) == 2:
        for late in args.desync:
            step = dict(type='Desynchronise', milliseconds=late)
            key = LATE, 'audio', late
            yield key, with_step(pipeline, step, 'audio')


def with_masked_tokens(
    recognizer: Recognizer, checkpoint: str, strength: int
) -> Recognizer:
    """The model with links that do not read a share of the audio."""
    config, share = copy.deepcopy(recognizer.cfg), SHARES[strength - 1]
    backbone = config.model.backbone
    for link in backbone.links:
        # An expert reads the other one.
        link.masked_context = tuple(
            share if backbone.inputs[other] == AUDIO else 0.0
            for other in reversed(link.between)
        )
    device = next(recognizer.model.parameters()).device
    return Recognizer.from_config(config, checkpoint, str(device))


def hits_of(
    recognizer: Recognizer,
    samples: Iterable[tuple[int, Mapping]],
    batch_size: int,
    experts: Sequence[str] | None = None,
    swapped: bool = False,
) -> Hits:
    """Which clips are classified correctly.

    Args:
        recognizer: The model.
        samples: Number in the data set, and packed sample with labels.
        batch_size: How many clips go through the model at once.
        experts: Which experts run; None for all.
        swapped: Whether each clip has the audio of the one with audio before
            it; clips without one take no part.
    """
    found: Hits = {task: {} for task in recognizer.class_names}
    samples, previous = iter(samples), None
    while batch := list(islice(samples, batch_size)):
        clips = [sample for _, sample in batch]
        if swapped:
            scores, previous = with_other_audio(recognizer, clips, previous)
        else:
            logits = recognizer.logits(clips, experts)
            scores = unbatched(recognizer.probabilities(logits))
        for (number, sample), by_task in zip(batch, scores, strict=True):
            if by_task is None:
                continue
            labels = sample['data_samples'].gt_label.tolist()
            for (task, score), label in zip(
                by_task.items(), labels, strict=True
            ):
                found[task][number] = score.argmax().item() == label
    return found


def compared(hits: Mapping[int, bool], clean: Mapping[int, bool]) -> dict:
    """Accuracy, and the paired test against the clips as they are."""
    shared = sorted(set(hits) & set(clean))
    now, before = (
        np.array([one[number] for number in shared]) for one in (hits, clean)
    )
    test = paired_test(now, before)
    return dict(top1=float(now.mean()), **test._asdict())


def measure(
    recognizer: Recognizer, args: argparse.Namespace, bad: list[str]
) -> dict[str, list[dict]]:
    """Rows of all conditions, by task."""
    dataset = dataset_of(recognizer.cfg)
    pipeline, manifest = dataset['pipeline'], args.manifest
    manifest = manifest or dataset['ann_file']

    def test(
        changed: Sequence[Mapping],
        faults: list,
        model: Recognizer = recognizer,
        **how: Any,
    ) -> Hits:
        dataset['pipeline'] = changed
        clips = clips_of(recognizer, manifest, args, faults)
        return hits_of(model, clips, args.batch_size, **how)

    clean = test(pipeline, bad)
    found = {(CLEAN, '', ''): clean}
    backbone = recognizer.model.backbone
    streams = getattr(backbone, 'inputs', {})
    if len(set(streams.values())) > 1:
        for stream in sorted(set(streams.values())):
            experts = [e for e, read in streams.items() if read != stream]
            key = f'without {MODALITIES.get(stream, stream)}', '', ''
            found[key] = test(pipeline, [], experts=experts)
        if AUDIO in streams.values():
            found[OTHER_AUDIO, '', ''] = test(pipeline, [], swapped=True)
    for key, changed in conditions(pipeline, args):
        print(*key, file=sys.stderr)
        found[key] = test(changed, [])
    dataset['pipeline'] = pipeline
    if MASKED in (args.causes or ()) and getattr(backbone, 'links', ()):
        for strength in args.strengths:
            masked = with_masked_tokens(recognizer, args.checkpoint, strength)
            torch.manual_seed(args.seed)
            found[MASKED, 'audio', strength] = test(pipeline, [], masked)
    names = 'cause', 'modality', 'strength'
    return {
        task: [
            dict(zip(names, key, strict=True))
            | compared(hits[task], clean[task])
            for key, hits in found.items()
            if hits[task]
        ]
        for task in clean
    }


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each cause and modality, with a column a strength."""
    lines: dict[tuple, dict] = {}
    for row in rows:
        cause, modality = row['cause'], row['modality']
        line = lines.setdefault(
            (cause, modality), dict(cause=cause, of=modality)
        )
        line[str(row['strength'] or 'top-1, %')] = f'{100 * row["top1"]:.1f}'
    blocks = [
        [v for (_, of), v in lines.items() if not of],
        [v for (c, of), v in lines.items() if of and c != LATE],
        [v for (c, _), v in lines.items() if c == LATE],
    ]
    return '\n\n'.join(table(block) for block in blocks if block)


def draw(title: str, rows: Sequence[Mapping[str, Any]], path: str) -> None:
    """Draw accuracy over strength, a panel for each cause."""
    single = [row for row in rows if not row['modality']]
    # From cause to modality to points; all begin with the clips as they are.
    lines: dict[str, dict[str, list]] = {}
    for row in rows:
        if row['modality']:
            of_cause = lines.setdefault(row['cause'], {})
            points = of_cause.setdefault(
                row['modality'], [(0, 100 * single[0]['top1'])]
            )
            points.append((row['strength'], 100 * row['top1']))
    across = min(max(len(lines), 1), 4)
    down = -(-max(len(lines), 1) // across)
    figure = new_figure(3.2 * across, 0.8 + 2.5 * down)
    figure.suptitle(title)
    panels = figure.subplots(down, across, sharey=True, squeeze=False)
    names = 'video', 'audio', 'video + audio'
    colours = {name: colour_of(n) for n, name in enumerate(names)}
    for axes in panels.flat[len(lines) :]:
        axes.axis('off')
    for axes, (cause, by_modality) in zip(
        panels.flat, lines.items(), strict=False
    ):
        for row, style in zip(single[1:], ('--', '-.', ':'), strict=False):
            value = 100 * row['top1']
            axes.axhline(
                value, color=INK, ls=style, lw=0.8, label=row['cause']
            )
        for modality, points in by_modality.items():
            axes.plot(
                *zip(*sorted(points), strict=True),
                'o-',
                ms=4,
                color=colours[modality],
                label=f'{modality} corrupted',
            )
        x = 'audio later by, ms' if cause == LATE else 'strength'
        tidy(axes, x, 'top-1, %').set_ylim(0, 103)
        title = PAPERS.get(cause, cause.replace('_', ' '))
        axes.set_title(title, fontsize=10)
    labels: dict[str, Any] = {}
    for axes in panels.flat:
        handles, texts = axes.get_legend_handles_labels()
        labels |= dict(zip(texts, handles, strict=True))
    figure.legend(
        labels.values(),
        labels,
        loc='outside lower center',
        ncols=3,
        frameon=False,
    )
    save(figure, path)


def main() -> None:
    """Test, print, draw and write."""
    args = parse_args()
    for cause in set(args.causes or ()) - {*CAUSES, MASKED}:
        kind = TRANSFORMS.get(cause)
        takes = inspect.signature(kind).parameters if kind else ()
        if not {'strength', 'seed'} <= set(takes):
            raise ValueError(
                f'--causes: {cause!r} is neither one of {[*CAUSES]} nor a '
                'registered transform with strength and seed'
            )
    recognizer = recognizer_of(args)
    bad: list[str] = []
    found = measure(recognizer, args, bad)
    for task, rows in found.items():
        if not rows:  # no clip can be read
            continue
        name = Path(args.config).stem
        title = f'{name}, {task}, {rows[0]["clips"]} clips, seed {args.seed}'
        print(f'\n{title}\n\n{text_table(rows)}\n')
        draw(title, rows, f'{args.out}_{task}.png')
        print(f'figure: {args.out}_{task}.png')
    write_details(recognizer, args, bad, manifest=args.manifest, top1=found)


if __name__ == '__main__':
    run_or_explain(main, FileNotFoundError, ValueError)
