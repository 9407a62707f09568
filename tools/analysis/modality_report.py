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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ca2st_mm import Recognizer
from ca2st_mm.apis.modality_contributions import survey
from ca2st_mm.apis.sources import dataset_of
from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.engine.launch import run_or_explain, usable_device
from ca2st_mm.evaluation.modality_table import (
    ClipAnswers,
    as_text,
    table,
    table_by_class,
)
from ca2st_mm.registry import DATASETS
from ca2st_mm.utils.hashing import sha256_of_tensors
from ca2st_mm.utils.records import write_record
from ca2st_mm.version import __version__
from ca2st_mm.visualization.modality_plot import draw_modalities
from ca2st_mm.zoo import ZooError


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


def read(
    dataset: Any, order: Sequence[int], workers: int, faults: list[str]
) -> Iterator[Mapping]:
    """Samples one by one; what is wrong with the others goes into a list."""
    loader = DataLoader(
        ReturnedFaults(dataset),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        collate_fn=as_it_is,
    )
    for sample in tqdm(loader, total=len(order), unit='clip'):
        if isinstance(sample, SampleFault):
            faults.append(str(sample))
        else:
            yield sample


def answers_of(
    recognizer: Recognizer, manifest: str, args: argparse.Namespace
) -> tuple[dict[str, list[ClipAnswers]], list[str]]:
    """Answers for the clips of a manifest by task, and the bad clips."""
    dataset = DATASETS.build(
        dict(dataset_of(recognizer.cfg), ann_file=manifest, test_mode=True)
    )
    generator = torch.Generator().manual_seed(args.seed)
    order = torch.randperm(len(dataset), generator=generator).tolist()
    faults: list[str] = []
    samples = read(dataset, order[: args.max_clips], args.workers, faults)
    return survey(recognizer, samples, args.batch_size), faults


def report(
    recognizer: Recognizer, manifest: str, task: str, clips: list, out: str
) -> dict:
    """Print and draw one task of one data set; its record."""
    names = recognizer.class_names[task]
    rows, by_class = table(clips), table_by_class(clips)
    title = f'{Path(recognizer.cfg.filename).stem}, {manifest}, {task}'
    print(f'\n{title}\n{as_text(rows)}')
    figure = f'{out}_{Path(manifest).stem}_{task}.png'
    draw_modalities(figure, title, rows, by_class, names)
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
