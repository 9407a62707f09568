# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Modality contributions of a model with parts left out, over a data set.

    python tools/analysis/modality_report.py CONFIG CHECKPOINT

prints for each part of the model (video alone, audio alone, without each
expert) and for shuffled audio the share of clips that are classified
correctly, and writes that by class as JSON and as a figure.
`docs/modality_contributions.md` says what the numbers mean.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from tqdm import tqdm


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config', help='config of a multi-expert model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        '--manifest',
        nargs='+',
        help="annotation files in the config's test data folder, each a data "
        "set of its own; the config's test file if left out",
    )
    parser.add_argument(
        '--max-clips', type=int, help='number of clips, drawn at random'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of the draw and of the shuffle'
    )
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument(
        '--workers', type=int, default=2, help='processes that read clips'
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--out',
        default='modality_report',
        help='outputs without extension; figures add data set and task',
    )
    args = parser.parse_args()
    for name in ('max_clips', 'batch_size'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} is at least 1')
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ca2st_mm import Recognizer
from ca2st_mm.apis.modality_contributions import (
    Scores,
    contributions_of,
    lacks_audio,
    modalities_of,
)
from ca2st_mm.apis.prediction import sizes_of
from ca2st_mm.apis.recognizer import AUDIO, unbatched
from ca2st_mm.apis.sources import dataset_of
from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.engine.launch import run_or_explain, usable_device
from ca2st_mm.registry import DATASETS
from ca2st_mm.structures import as_streams
from ca2st_mm.utils.hashing import sha256_of_tensors
from ca2st_mm.utils.records import write_record
from ca2st_mm.version import __version__
from ca2st_mm.visualization.style import (
    GREY,
    INK,
    RED,
    colour_of,
    new_figure,
    save,
    tidy,
)
from ca2st_mm.zoo import ZooError

WHOLE = 'all experts'
SHUFFLED = 'audio of another clip'
WITHOUT_AUDIO = 'all experts, clips without audio'
_MAX_CLASSES = 24  # of the figure


class Answer(NamedTuple):
    """What a part of the model says of one clip.

    Attributes:
        hit: Whether its best class is the true one.
        probability: Of the true class.
    """

    hit: bool
    probability: float


@dataclass
class ClipAnswers:
    """All answers for one clip and one task.

    Attributes:
        label: The true class.
        has_audio: Whether it has audio; None if unknown.
        by_part: Answers by name of the part, :data:`WHOLE` among them.
    """

    label: int
    has_audio: bool | None
    by_part: dict[str, Answer]


class Row(NamedTuple):
    """One part over some clips.

    Attributes:
        clips: Number of clips that it could be asked.
        top1: Share of them that it classifies correctly.
        change: That minus the share of the whole model, on the same clips.
        probability: Mean probability of the true class.
    """

    clips: int
    top1: float
    change: float
    probability: float


def table(clips: Sequence[ClipAnswers]) -> dict[str, Row]:
    """A row for each part, the whole first; at least one clip."""

    def row(part: str, clips: Sequence[ClipAnswers]) -> Row:
        asked = [clip.by_part for clip in clips if part in clip.by_part]
        top1 = sum(answers[part].hit for answers in asked) / len(asked)
        whole = sum(answers[WHOLE].hit for answers in asked) / len(asked)
        sure = sum(answers[part].probability for answers in asked)
        return Row(len(asked), top1, top1 - whole, sure / len(asked))

    parts = dict.fromkeys(part for clip in clips for part in clip.by_part)
    rows = {part: row(part, clips) for part in parts}
    without = [clip for clip in clips if clip.has_audio is False]
    if without:
        rows[WITHOUT_AUDIO] = row(WHOLE, without)
    return rows


def table_by_class(clips: Iterable[ClipAnswers]) -> dict[int, dict[str, Row]]:
    """A table for each class that occurs, by its number."""
    by_class: dict[int, list[ClipAnswers]] = {}
    for clip in clips:
        by_class.setdefault(clip.label, []).append(clip)
    return {label: table(by_class[label]) for label in sorted(by_class)}


def survey(
    recognizer: Recognizer, samples: Iterable[Mapping], batch_size: int = 8
) -> dict[str, list[ClipAnswers]]:
    """Answers of all parts for every clip, and with shuffled audio.

    Each clip is run once more with the audio of the clip with audio before
    it, the first with that of the last: a shuffle in which no clip keeps its
    own, and only a batch is in memory.  Give the clips in random order.

    Args:
        recognizer: A multi-expert model.
        samples: Packed samples with labels.
        batch_size: How many clips go through the model at once.

    Returns:
        A list with one entry a clip, by task.

    Raises:
        ValueError: If the model has a single expert.
    """
    uses_audio = 'audio' in modalities_of(recognizer.model)
    tasks = sizes_of(recognizer.model.cls_head)
    answers: dict[str, list[ClipAnswers]] = {task: [] for task in tasks}
    # (index of the clip, clip): the first one with audio, and the latest
    first = latest = None
    count, samples = 0, iter(samples)

    def shuffle(chain: Sequence[tuple[int, Mapping]]) -> None:
        """Run each clip of a chain with the audio of the one before."""
        pairs = [(own, other) for (_, other), (_, own) in pairwise(chain)]
        found = with_audio_of(recognizer, pairs) if pairs else []
        for (index, _), scores in zip(chain[1:], found, strict=True):
            for task, clips in answers.items():
                clip = clips[index]
                clip.by_part[SHUFFLED] = _answer(scores[task], clip.label)

    while batch := list(islice(samples, batch_size)):
        contributions = contributions_of(recognizer, batch)
        for sample, found in zip(batch, contributions, strict=True):
            has_audio = not lacks_audio(sample) if uses_audio else None
            labels = sample['data_samples'].gt_label.tolist()
            parts = {WHOLE: found.whole, **found.parts}
            for task, label in zip(answers, labels, strict=True):
                by_part = {
                    part: _answer(scores[task], label)
                    for part, scores in parts.items()
                }
                answers[task].append(ClipAnswers(label, has_audio, by_part))
        chain = [
            (index, sample)
            for index, sample in enumerate(batch, count)
            if uses_audio and not lacks_audio(sample)
        ]
        count += len(batch)
        if chain:
            shuffle([*([latest] if latest else []), *chain])
            first, latest = first or chain[0], chain[-1]
    if first is not None and first[0] != latest[0]:
        shuffle([latest, first])
    return answers


def with_audio_of(
    recognizer: Recognizer, pairs: Sequence[tuple[Mapping, Mapping]]
) -> list[Scores]:
    """What the whole model says of clips with the audio of other clips.

    The clock of each clip stays its own: the other audio is used as if it
    belonged there.

    Args:
        recognizer: A model that uses audio.
        pairs: A clip, and the one whose audio it gets.
    """
    mixed = []
    for own, other in pairs:
        streams = as_streams(own['inputs'])
        values = as_streams(other['inputs'])[AUDIO].values
        audio = {AUDIO: streams[AUDIO]._replace(values=values)}
        mixed.append({**own, 'inputs': {**streams, **audio}})
    return unbatched(recognizer.probabilities(recognizer.logits(mixed)))


def _answer(scores: Tensor, label: int) -> Answer:
    return Answer(scores.argmax().item() == label, scores[label].item())


def draw(
    title: str,
    rows: Mapping[str, Row],
    by_class: Mapping[int, Mapping[str, Row]],
    names: Sequence[str],
    path: str,
) -> None:
    """Draw the parts of a model next to each other, and class by class.

    Args:
        title: Of the figure.
        rows: By part, over all clips.
        by_class: By true class, the same of its clips.
        names: Class names.
        path: The file to write.
    """

    def change(label: int) -> float:
        return max(abs(row.change) for row in by_class[label].values())

    shown = sorted(by_class, key=change, reverse=True)[:_MAX_CLASSES]
    alone = [part for part in rows if part.endswith(' alone')]
    colours = {WHOLE: INK, SHUFFLED: RED}
    colours |= {part: colour_of(number) for number, part in enumerate(alone)}
    figure = new_figure(12, 1.8 + 0.3 * max(len(rows), len(shown)))
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    bars = left.barh(
        list(rows),
        [100 * row.top1 for row in rows.values()],
        color=[colours.get(part, GREY) for part in rows],
    )
    labels = [f'{100 * r.top1:.1f} % of {r.clips}' for r in rows.values()]
    left.bar_label(bars, labels, padding=3)
    left.invert_yaxis()
    left.set_xlim(0, 130)
    left.set_xticks(range(0, 101, 20))
    tidy(left, 'top-1, % (of so many clips)')
    which = f'the {len(shown)} of {len(by_class)} classes that change most'
    tidy(right, f'top-1, %: {which}').set_xlim(-4, 104)
    # The whole model is drawn last and smallest, so that marks at the same
    # place stay visible.
    for number, part in enumerate(reversed(colours)):
        points = [
            (100 * by_class[label][part].top1, place)
            for place, label in enumerate(shown)
            if part in by_class[label]
        ]
        if points:
            right.scatter(
                *zip(*points, strict=True),
                20 + 30 * (len(colours) - 1 - number),
                color=colours[part],
                label=part,
                zorder=3,
            )
    right.set_yticks(range(len(shown)), [names[label] for label in shown])
    right.invert_yaxis()
    right.grid(axis='y', color=GREY, lw=0.5)
    figure.legend(loc='outside lower right', ncols=4, frameon=False)
    save(figure, path)


class ReturnedFaults(Dataset):
    """A data set that returns its faults instead of raising them."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Mapping | SampleFault:
        try:
            return self.dataset[index]
        except SampleFault as fault:
            return fault


def as_it_is(sample: Any) -> Any:
    """Collate nothing."""
    return sample


def answers_of(
    recognizer: Recognizer, manifest: str, args: argparse.Namespace
) -> tuple[dict[str, list[ClipAnswers]], list[str]]:
    """Answers for the clips of a manifest by task, and the bad clips."""
    dataset = DATASETS.build(
        dict(dataset_of(recognizer.cfg), ann_file=manifest, test_mode=True)
    )
    generator = torch.Generator().manual_seed(args.seed)
    order = torch.randperm(len(dataset), generator=generator).tolist()
    loader = DataLoader(
        ReturnedFaults(dataset),
        batch_size=None,
        sampler=order[: args.max_clips],
        num_workers=args.workers,
        collate_fn=as_it_is,
    )
    faults: list[str] = []

    def samples() -> Iterator[Mapping]:
        for sample in tqdm(loader, unit='clip'):
            if isinstance(sample, SampleFault):
                faults.append(str(sample))
            else:
                yield sample

    return survey(recognizer, samples(), args.batch_size), faults


def report(
    recognizer: Recognizer, manifest: str, task: str, clips: list, out: str
) -> dict:
    """Print and draw one task of one data set; its record."""
    names = recognizer.class_names[task]
    rows, by_class = table(clips), table_by_class(clips)
    title = f'{Path(recognizer.cfg.filename).stem}, {manifest}, {task}'
    width = max(map(len, rows))
    columns = f'{"clips":>8}{"top-1":>9}{"change":>9}{"true class":>12}'
    print(f'\n{title}\n{"":{width}}{columns}')
    for part, row in rows.items():
        print(
            f'{part:{width}}{row.clips:>8}{row.top1:>9.1%}{row.change:>+9.1%}'
            f'{row.probability:>12.1%}'
        )
    figure = f'{out}_{Path(manifest).stem}_{task}.png'
    draw(title, rows, by_class, names, figure)
    print(f'figure: {figure}')
    return dict(
        parts={part: row._asdict() for part, row in rows.items()},
        classes={
            names[label]: {part: row._asdict() for part, row in rows.items()}
            for label, rows in by_class.items()
        },
    )


def main() -> None:
    """Go through every data set; print, draw and write."""
    args = parse_args()
    config = Config.fromfile(args.config)
    device = usable_device(args.device)
    recognizer = Recognizer.from_config(config, args.checkpoint, device)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    found, bad = {}, []
    for manifest in args.manifest or [dataset_of(config)['ann_file']]:
        by_task, faults = answers_of(recognizer, manifest, args)
        bad += faults
        found[manifest] = {
            task: report(recognizer, manifest, task, clips, args.out)
            for task, clips in by_task.items()
            if clips
        }
    write_record(
        f'{args.out}.json',
        dict(
            config=args.config,
            checkpoint=args.checkpoint,
            weights_sha256=sha256_of_tensors(recognizer.model.state_dict()),
            ca2st_mm=__version__,
            seed=args.seed,
            max_clips=args.max_clips,
            data_sets=found,
            bad_clips=bad,
        ),
    )
    print(f'details: {args.out}.json')
    for fault in bad:
        print(fault, file=sys.stderr)
    if bad:
        sys.exit(1)


if __name__ == '__main__':
    run_or_explain(main, (FileNotFoundError, ValueError, ZooError))
