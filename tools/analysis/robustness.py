# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Accuracy of a model on corrupted clips.

    ca2st report robustness CONFIG CHECKPOINT

tests the model on the same clips as they are, with each cause of corruption
(wind, rain, ...) at five strengths, in video, in audio and in both; with
audio that comes later; without a modality; and with the audio of another
clip.  Each test is written as it ends (JSON); the same command continues a
run that was stopped, then prints a table and draws a figure.
"""

import argparse
import copy
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from reports import clips_parser, table

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
    parser = clips_parser(__doc__)
    add = parser.add_argument
    add(
        '--causes',
        nargs='*',
        help="causes of Corrupt; 'papers' for the noises, shift, missing "
        'audio and masked audio tokens of the papers; or types of other '
        'transforms of audio that take strength and seed; all of Corrupt if '
        'left out',
    )
    add(
        '--strengths',
        nargs='+',
        type=int,
        choices=range(1, 6),
        default=[1, 2, 3, 4, 5],
        help='of each cause',
    )
    add(
        '--desync',
        nargs='*',
        type=float,
        default=[-500, -200, -100, 100, 200, 500],
        metavar='MS',
        help='by how many milliseconds audio comes later',
    )
    add(
        '--ann-file',
        '--manifest',  # as it was called
        help="annotation file in the config's test data folder; the config's "
        'test file if left out',
    )
    args = parser.parse_args()
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
    begun_record,
    clips_of,
    facts_of,
    name_bad_clips,
    outputs_of,
    with_other_audio,
)
from modality_statistics import paired_test
from named_model import load_named

from ca2st_mm import Recognizer
from ca2st_mm.apis.modality_contributions import AUDIO, MODALITIES
from ca2st_mm.apis.prediction import unbatched
from ca2st_mm.apis.sources import dataset_of
from ca2st_mm.datasets.transforms import CAUSES
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.registry import TRANSFORMS
from ca2st_mm.utils.text_files import write_record
from ca2st_mm.visualization.style import (
    INK,
    colour_of,
    new_figure,
    save,
    tidy,
)

CLEAN = 'as they are'
LATE = 'desynchronised'
KEYS = ('cause', 'modality', 'strength')
# Cause, modality and strength of a test; empty where it has none.
Key = tuple[str, str, Any]
# Whether clips are classified correctly: by task, by number of the clip.
Hits = dict[str, dict[int, bool]]


def with_step(
    pipeline: Sequence[Mapping], step: Mapping, place: str
) -> list[Mapping]:
    """A pipeline with a corruption of 'video' or 'audio' at its place."""
    types = [str(one['type']) for one in pipeline]
    at = (
        types.index('LoadAudio') + 1
        if place == 'audio'
        else types.index('FormatShape')
    )
    return [*pipeline[:at], step, *pipeline[at:]]


def tests_of(
    recognizer: Recognizer, args: argparse.Namespace
) -> Iterator[tuple[Key, list[Mapping], dict]]:
    """Each test: key, pipeline, and arguments of :func:`hits_of` or masked."""
    pipeline = list(dataset_of(recognizer.cfg)['pipeline'])
    yield (CLEAN, '', ''), pipeline, {}
    backbone = recognizer.model.backbone
    inputs = getattr(backbone, 'inputs', {})
    streams = sorted(set(inputs.values()))
    for stream in streams if len(streams) > 1 else ():
        experts = [e for e, read in inputs.items() if read != stream]
        key = f'without {MODALITIES.get(stream, stream)}', '', ''
        yield key, pipeline, dict(experts=experts)
    if len(streams) > 1 and AUDIO in streams:
        yield (OTHER_AUDIO, '', ''), pipeline, dict(swapped=True)
    types = {str(step['type']) for step in pipeline}
    has = dict(video='FormatShape' in types, audio='LoadAudio' in types)
    there = [modality for modality, known in has.items() if known]
    for cause in CAUSES if args.causes is None else args.causes:
        ways = [[one] for one in there if cause in CAUSES or one == 'audio']
        if cause in CAUSES and len(there) == 2:
            ways.append(there)
        if cause == MASKED and not getattr(backbone, 'links', ()):
            ways = []  # no expert reads another one
        for modalities in ways:
            for strength in args.strengths:
                key = cause, ' + '.join(modalities), strength
                changed = pipeline
                if cause == MASKED:
                    yield key, pipeline, dict(masked=SHARES[strength - 1])
                    continue
                for modality in modalities:
                    step = dict(type=cause, strength=strength, seed=args.seed)
                    if cause in CAUSES:
                        step.update(
                            type='Corrupt', cause=cause, modalities=[modality]
                        )
                    changed = with_step(changed, step, modality)
                yield key, changed, {}
    for late in args.desync if len(there) == 2 else ():
        step = dict(type='Desynchronise', milliseconds=late)
        yield (LATE, 'audio', late), with_step(pipeline, step, 'audio'), {}


def with_masked_tokens(
    recognizer: Recognizer, checkpoint: str, share: float
) -> Recognizer:
    """The model with links that do not read a share of the audio."""
    config = copy.deepcopy(recognizer.cfg)
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
    """Which clips are classified correctly, by all experts or by some.

    If swapped, each clip has the audio of the one with audio before it;
    clips without one take no part.
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
    return dict(top1=float(now.mean()), **paired_test(now, before))


def measure(
    recognizer: Recognizer, args: argparse.Namespace, path: Path
) -> dict:
    """Run the tests that are not in the record yet, and add each to it.

    The record says what it depends on, rows by task (``top1``), which clips
    are classified correctly as they are (``clean``), and ``bad_clips``.
    """
    record = begun_record(path, facts_of(recognizer, args))
    found = record.setdefault('top1', {})
    bad = record.setdefault('bad_clips', [])
    done = {key_of(row) for rows in found.values() for row in rows}
    ann_file = args.ann_file or dataset_of(recognizer.cfg)['ann_file']
    for key, pipeline, how in tests_of(recognizer, args):
        if key in done:
            continue
        print(*key, file=sys.stderr)
        model, share = recognizer, how.pop('masked', 0)
        if share:
            model = with_masked_tokens(recognizer, args.checkpoint, share)
            torch.manual_seed(args.seed)
        faults: list[str] = []
        clips = clips_of(recognizer, ann_file, args, faults, pipeline)
        hits = hits_of(model, clips, args.batch_size, **how)
        if key[0] == CLEAN:
            record['clean'] = hits
            bad += faults
        for task, of_task in hits.items():
            # In JSON, numbers of clips are text.
            clean = {int(n): h for n, h in record['clean'][task].items()}
            if of_task:
                row = dict(zip(KEYS, key, strict=True))
                row |= compared(of_task, clean)
                found.setdefault(task, []).append(row)
        write_record(path, record)
    return record


def key_of(row: Mapping[str, Any]) -> Key:
    """The key of the test that a row is of."""
    return tuple(row[name] for name in KEYS)


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each cause and modality, with a column a strength."""
    lines: dict[tuple, dict] = {}
    for row in rows:
        cause, modality = row['cause'], row['modality']
        line = lines.setdefault(
            (cause, modality), dict(cause=cause, of=modality)
        )
        column = 'top-1, %' if not modality else f'{row["strength"]:g}'
        line[column] = f'{100 * row["top1"]:.1f}'
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
        first = axes in panels[:, 0]
        tidy(axes, x, 'top-1, %' if first else '').set_ylim(0, 103)
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
    recognizer, out = load_named(args), outputs_of(args, 'robustness')
    path = out.with_name(f'{out.name}.json')
    record = measure(recognizer, args, path)
    asked = [key for key, *_ in tests_of(recognizer, args)]
    for task, rows in record['top1'].items():
        known = {key_of(row): row for row in rows}
        rows = [known[key] for key in asked if key in known]
        name = Path(args.config).stem
        title = f'{name}, {task}, {rows[0]["clips"]} clips, seed {args.seed}'
        print(f'\n{title}\n\n{text_table(rows)}\n')
        draw(title, rows, f'{out}_{task}.png')
        print(f'figure: {out}_{task}.png')
    print(f'details: {path}')
    name_bad_clips(record['bad_clips'])


if __name__ == '__main__':
    run_or_explain(main, FileNotFoundError, ValueError)
