# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A model and the clips of a data set, for the reports of this folder."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ca2st_mm import Recognizer
from ca2st_mm.apis.modality_contributions import AUDIO, Scores, lacks_audio
from ca2st_mm.apis.prediction import unbatched
from ca2st_mm.apis.sources import dataset_of
from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.datasets.transforms.base import clip_name
from ca2st_mm.registry import DATASETS
from ca2st_mm.structures import as_streams
from ca2st_mm.utils.building import building
from ca2st_mm.utils.errors import UsageError
from ca2st_mm.utils.hashing import sha256_of_tensors
from ca2st_mm.utils.text_files import read_record
from ca2st_mm.version import __version__

OTHER_AUDIO = 'audio of another clip'  # the row of a report


def outputs_of(args: argparse.Namespace, name: str) -> Path:
    """Where outputs go, without extension; the folder is made."""
    folder = Path(args.checkpoint).parent
    if not Path(args.checkpoint).exists() or not os.access(folder, os.W_OK):
        folder = Path('work_dirs', Path(args.config).stem)
    path = Path(args.out or folder / name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def facts_of(recognizer: Recognizer, args: argparse.Namespace) -> dict:
    """What a report depends on, as JSON gives it back."""
    facts = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        weights_sha256=sha256_of_tensors(recognizer.model.state_dict()),
        cfg_options=args.cfg_options,
        ann_file=args.ann_file,
        ca2st_mm=__version__,
        seed=args.seed,
        max_clips=args.max_clips,
    )
    return json.loads(json.dumps(facts))


def begun_record(path: Path, facts: dict) -> dict:
    """The record of an earlier run that was stopped, or a new one.

    Raises:
        UsageError: If it is of another model, other clips or seeds.
    """
    record = read_record(path) if path.exists() else facts
    for name, value in facts.items():
        if record.get(name) != value and name != 'checkpoint':
            raise UsageError(
                f'{path} is of {name} {record.get(name)!r}, not {value!r}; '
                'remove it, or name another file with --out'
            )
    return record


def with_other_audio(
    recognizer: Recognizer,
    clips: Sequence[Mapping],
    previous: Mapping | None,
) -> tuple[list[Scores | None], Mapping | None]:
    """What the whole model says of clips with the audio of another clip.

    Each gets the audio of the clip with audio before it (of the first it is
    the previous one), as if it belonged there: its own clock stays.

    Returns:
        Scores of each clip, None where one of the two has no audio; and the
        last clip with audio.
    """
    mixed: dict[int, Mapping] = {}
    for place, clip in enumerate(clips):
        if lacks_audio(clip):
            continue
        if previous is not None:
            streams = as_streams(clip['inputs'])
            values = as_streams(previous['inputs'])[AUDIO].values
            audio = {AUDIO: streams[AUDIO]._replace(values=values)}
            mixed[place] = {**clip, 'inputs': {**streams, **audio}}
        previous = clip
    found: list[Scores | None] = [None] * len(clips)
    if mixed:
        logits = recognizer.logits([*mixed.values()])
        scores = unbatched(recognizer.probabilities(logits))
        for place, score in zip(mixed, scores, strict=True):
            found[place] = score
    return found, previous


class NumberedClips(Dataset):
    """Clips with numbers and names, and faults in the place of bad ones."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Mapping | SampleFault]:
        try:
            sample = self.dataset[index]
        except SampleFault as fault:
            return index, fault
        info = {'filename': '', **self.dataset.get_data_info(index)}
        sample['data_samples'].set_metainfo(dict(clip=clip_name(info)))
        return index, sample


def as_it_is(sample: Any) -> Any:
    """Collate nothing."""
    return sample


def listed_clips(
    recognizer: Recognizer,
    ann_file: str,
    pipeline: Sequence[Mapping] | None = None,
) -> Dataset:
    """The data set of an annotation file next to the config's test data."""
    dataset = dict(
        dataset_of(recognizer.cfg),
        ann_file=ann_file,
        test_mode=True,
        serialize_data=False,
    )
    dataset['pipeline'] = pipeline or dataset['pipeline']
    with building(recognizer.cfg):
        return DATASETS.build(dataset)


def clips_of(
    recognizer: Recognizer,
    ann_file: str,
    args: argparse.Namespace,
    faults: list[str],
    pipeline: Sequence[Mapping] | None = None,
) -> Iterator[tuple[int, Mapping]]:
    """Clips of a data set in random order; bad ones are added to faults."""
    dataset = listed_clips(recognizer, ann_file, pipeline)
    generator = torch.Generator().manual_seed(args.seed)
    order = torch.randperm(len(dataset), generator=generator).tolist()
    loader = DataLoader(
        NumberedClips(dataset),
        batch_size=None,
        sampler=order[: args.max_clips],
        num_workers=args.workers,
        collate_fn=as_it_is,
    )
    for clip, sample in tqdm(loader, unit='clip', leave=False, disable=None):
        if isinstance(sample, SampleFault):
            faults.append(str(sample))
        else:
            yield clip, sample


def name_bad_clips(faults: Sequence[str]) -> None:
    """Print what is wrong with bad clips.

    Raises:
        SystemExit: If there are any.
    """
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
