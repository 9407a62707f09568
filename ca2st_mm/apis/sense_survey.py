# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every part of a model asked about every clip of a data set."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ca2st_mm.datasets.faults import SampleFault
from ca2st_mm.evaluation.modality_table import (
    SHUFFLED,
    WHOLE,
    Answer,
    ClipAnswers,
)

from .class_names import sizes_of
from .modality import (
    Scores,
    has_no_sound,
    which_senses,
    whole_scores,
    with_sound_of,
)
from .model_parts import senses_of
from .recognizer import Recognizer


class _Faultless(Dataset):
    """A data set that returns its faults instead of raising them."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Mapping | SampleFault:
        try:
            return self.dataset[number]
        except SampleFault as fault:
            return fault


def read_in_order(
    dataset: Any, order: Sequence[int], num_workers: int = 0
) -> Iterator[Mapping | SampleFault]:
    """Prepared samples, or what is wrong with them, one by one.

    Args:
        dataset: An ``AudioVisualDataset`` in test mode.
        order: Numbers of its samples.
        num_workers: Processes that read.
    """
    loader = DataLoader(
        _Faultless(dataset),
        batch_size=None,
        sampler=order,
        num_workers=num_workers,
        collate_fn=_as_it_is,
    )
    yield from loader


def _as_it_is(sample: Any) -> Any:
    return sample


def random_order(size: int, limit: int | None, seed: int) -> list[int]:
    """Numbers of clips, drawn at random; the same for a seed.

    Args:
        size: Of the data set.
        limit: How many are wanted; None for all.
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(size, generator=generator).tolist()[:limit]


class SenseSurvey:
    """Collects the answers of all parts, and of shuffled sounds.

    Clips arrive in a random order and each is heard once more with the sound
    of the clip with sound before it, the first with that of the last: a
    shuffle in which no clip keeps its sound, with two clips in memory.

    Args:
        recognizer: A multi-expert model.
        batch_size: How many clips go through the model at once.

    Raises:
        ValueError: If the model has a single expert.
    """

    def __init__(self, recognizer: Recognizer, batch_size: int = 8) -> None:
        self.recognizer, self.batch_size = recognizer, batch_size
        self.tasks = list(sizes_of(recognizer.model.cls_head))
        self.answers: dict[str, list[ClipAnswers]] = {
            task: [] for task in self.tasks
        }
        self._listens = 'sound' in senses_of(recognizer.model)
        self._waiting: list[Mapping] = []
        self._chain: list[tuple[int, Mapping]] = []
        self._first: tuple[int, Mapping] | None = None

    def add(self, sample: Mapping) -> None:
        """Take a prepared sample with a label.

        Args:
            sample: Of a data set, or of :meth:`Recognizer.prepare`.
        """
        self._waiting.append(sample)
        if len(self._waiting) == self.batch_size:
            self._ask()

    def finish(self) -> dict[str, list[ClipAnswers]]:
        """Ask what is left; the answers of all clips by task."""
        if self._waiting:
            self._ask()
        if self._first is not None and len(self._chain) == 1:
            self._hear([*self._chain, self._first])
        self._chain, self._first = [], None
        return self.answers

    def _ask(self) -> None:
        samples, self._waiting = self._waiting, []
        start = len(self.answers[self.tasks[0]])
        for sample, found in zip(
            samples, which_senses(self.recognizer, samples), strict=True
        ):
            scores = {WHOLE: found.whole, **found.parts}
            self._note(sample, scores)
        if self._listens:
            heard = [
                (number, sample)
                for number, sample in enumerate(samples, start)
                if not has_no_sound(sample)
            ]
            self._link(heard)

    def _link(self, heard: list[tuple[int, Mapping]]) -> None:
        """Hang clips with sound onto the chain."""
        if not heard:
            return
        links = [*self._chain, *heard]
        if self._first is None:
            self._first = heard[0]
        if len(links) > 1:
            self._hear(links)
        self._chain = links[-1:]

    def _hear(self, links: list[tuple[int, Mapping]]) -> None:
        """Ask each clip of a chain with the sound of the one before."""
        pairs = list(zip(links[:-1], links[1:], strict=True))
        if any(a is b for (_, a), (_, b) in pairs):
            return  # a single clip has nobody else's sound
        samples = [with_sound_of(own, other) for (_, other), (_, own) in pairs]
        found = whole_scores(self.recognizer, samples)
        for (_, (number, sample)), scores in zip(pairs, found, strict=True):
            for task, label in self._labels(sample).items():
                answer = _answer(scores[task], label)
                self.answers[task][number].by_part[SHUFFLED] = answer

    def _note(self, sample: Mapping, scores: Mapping[str, Scores]) -> None:
        for task, label in self._labels(sample).items():
            by_part = {
                part: _answer(found[task], label)
                for part, found in scores.items()
            }
            has_sound = None
            if self._listens:
                has_sound = not has_no_sound(sample)
            self.answers[task].append(ClipAnswers(label, has_sound, by_part))

    def _labels(self, sample: Mapping) -> dict[str, int]:
        labels = sample['data_samples'].gt_label.tolist()
        return dict(zip(self.tasks, labels, strict=True))


def _answer(scores: Tensor, label: int) -> Answer:
    return Answer(scores.argmax().item() == label, scores[label].item())
