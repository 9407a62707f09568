# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Modality contributions: the same clip with a part of the model alone.

An expert is left out as ``missing_inputs='drop'`` does it: its links are
skipped and the head sums the others.  The head was trained on all experts,
so the scores say what this model can tell from a modality, not what a model
trained on that modality could.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ca2st_mm.evaluation.modality_table import (
    SHUFFLED,
    WHOLE,
    Answer,
    ClipAnswers,
)
from ca2st_mm.models.backbones import MultiExpertBackbone
from ca2st_mm.structures import as_streams

from .prediction import PartAnswer, Prediction, sizes_of
from .recognizer import AUDIO, Recognizer, head_output, per_sample, unbatched

# A stream with another name is a modality of its own.
MODALITIES = {'imgs': 'video', AUDIO: 'audio'}
NO_AUDIO = 'the clip has no audio'
# Probabilities (num_classes,) by task, averaged over the views.
Scores = dict[str, Tensor]


@dataclass(frozen=True)
class ModalityContributions:
    """Scores of one clip with the whole model and with parts of it.

    Attributes:
        whole: With all experts, by task.
        parts: With some, by name of the part: 'video alone' and 'audio
            alone' keep the experts of a modality, 'without <expert>' all but
            one.
        unknown: The parts that cannot answer, and why.
    """

    whole: Scores
    parts: Mapping[str, Scores]
    unknown: Mapping[str, str]

    def changes(self, task: str = 'label') -> dict[str, float]:
        """How each part moves the class that the whole model chose.

        Args:
            task: ``label``, ``verb`` or ``noun``.

        Returns:
            Probability of that class with a part alone, minus the one with
            the whole model, by part.
        """
        best = self.whole[task].argmax()
        return {
            part: (scores[task][best] - self.whole[task][best]).item()
            for part, scores in self.parts.items()
        }


def modality_contributions(
    recognizer: Recognizer, sample: Mapping
) -> ModalityContributions:
    """Run one clip through every modality alone and without every expert.

    Args:
        recognizer: A multi-expert model.
        sample: What :meth:`Recognizer.prepare` returns.

    Raises:
        ValueError: If the model has a single expert, or a head that does
            not tell them apart.

    Example:
        >>> sample = recognizer.prepare('clip.mp4')
        >>> found = modality_contributions(recognizer, sample)
        >>> found.parts['audio alone']['label'].shape
        torch.Size([12])
    """
    return contributions_of(recognizer, [sample])[0]


@torch.no_grad()
def contributions_of(
    recognizer: Recognizer, samples: Sequence[Mapping]
) -> list[ModalityContributions]:
    """The same for several clips, each part of the model in one batch.

    Args:
        recognizer: A multi-expert model.
        samples: What :meth:`Recognizer.prepare` returns.

    Raises:
        ValueError: See :func:`modality_contributions`.
    """
    model = recognizer.model
    parts = parts_of(model)
    inputs = recognizer.batch(samples)['inputs']

    def scores(experts: Sequence[str] | None = None) -> list[Scores]:
        output = head_output(model, inputs, experts)
        return _averaged(recognizer, output, len(samples))

    by_part, unknown = {}, {}
    for part, experts in parts.items():
        if reason := _why_not(model.cls_head, experts):
            unknown[part] = reason
        else:
            by_part[part] = scores(experts)
    with_audio = set(modalities_of(model).get(MODALITIES[AUDIO], ()))
    audio_only = [
        part for part, experts in parts.items() if with_audio >= {*experts}
    ]
    found = []
    for number, whole in enumerate(scores()):
        silent = audio_only if lacks_audio(samples[number]) else ()
        found.append(
            ModalityContributions(
                whole,
                {p: s[number] for p, s in by_part.items() if p not in silent},
                unknown | dict.fromkeys(silent, NO_AUDIO),
            )
        )
    return found


def classify_with_contributions(
    recognizer: Recognizer, samples: Sequence[Mapping], top_k: int = 5
) -> list[Prediction]:
    """Predict prepared samples, with the answers of every part alone.

    Args:
        recognizer: A multi-expert model.
        samples: What :meth:`Recognizer.prepare` returns.
        top_k: How many classes to give.

    Raises:
        ValueError: See :func:`modality_contributions`.
    """
    found = contributions_of(recognizer, samples)
    predictions = recognizer.classify(samples, top_k)
    return [
        replace(prediction, modalities=tuple(_answers(recognizer, one)))
        for prediction, one in zip(predictions, found, strict=True)
    ]


def _answers(
    recognizer: Recognizer, found: ModalityContributions
) -> Iterator[PartAnswer]:
    for task, names in recognizer.class_names.items():
        changes = found.changes(task)
        for part, scores in found.parts.items():
            score, best = scores[task].max(0)
            yield PartAnswer(
                part, task, names[int(best)], score.item(), changes[part]
            )
        for part, reason in found.unknown.items():
            yield PartAnswer(part, task, unknown=reason)


def modalities_of(model: nn.Module) -> dict[str, list[str]]:
    """Names of the experts of each modality.

    Args:
        model: A recognizer.

    Raises:
        ValueError: If it has a single expert.
    """
    backbone = model.backbone
    if not isinstance(backbone, MultiExpertBackbone):
        raise ValueError(
            'modality contributions need a model with several experts; this '
            f'one is {type(backbone).__name__} alone'
        )
    modalities: dict[str, list[str]] = {}
    for expert in backbone.experts:
        stream = backbone.inputs[expert]
        modalities.setdefault(MODALITIES.get(stream, stream), []).append(
            expert
        )
    return modalities


def parts_of(model: nn.Module) -> dict[str, list[str]]:
    """The experts of every part, by name of the part.

    Args:
        model: A recognizer.

    Raises:
        ValueError: If it has a single expert.
    """
    modalities = modalities_of(model)
    parts = {f'{name} alone': experts for name, experts in modalities.items()}
    for name in model.backbone.experts:
        others = [other for other in model.backbone.experts if other != name]
        parts[f'without {name}'] = others
    return parts


def _why_not(head: nn.Module, experts: Sequence[str]) -> str | None:
    """Why a head cannot answer from some experts; None if it can."""
    if hasattr(head, 'fusions'):
        fusions = dict(head.fusions.items())
    elif hasattr(head, 'fusion'):
        fusions = {'label': head.fusion}
    else:
        raise ValueError(
            f'{type(head).__name__} does not tell its experts apart; '
            'modality contributions need a FusionHead or a VerbNounHead'
        )
    for task, fusion in fusions.items():
        if not set(experts) & set(fusion.adapters):
            return f'the head reads the {task} off {list(fusion.adapters)}'
    return None


def lacks_audio(sample: Mapping) -> bool:
    """Whether a packed sample is known to lack audio."""
    data_sample = sample['data_samples']
    views = data_sample.get('views')
    known = data_sample.get('has_audio', views and views.has_audio)
    return known is not None and not known


def _averaged(recognizer: Recognizer, output: Any, count: int) -> list[Scores]:
    """Probabilities by task, of every sample."""
    scores = recognizer.probabilities(per_sample(output, count))
    return unbatched({task: value.cpu() for task, value in scores.items()})


@torch.no_grad()
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
    output = head_output(recognizer.model, recognizer.batch(mixed)['inputs'])
    return _averaged(recognizer, output, len(mixed))


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
        ValueError: See :func:`modality_contributions`.
    """
    uses_audio = MODALITIES[AUDIO] in modalities_of(recognizer.model)
    tasks = list(sizes_of(recognizer.model.cls_head))
    answers: dict[str, list[ClipAnswers]] = {task: [] for task in tasks}
    # (index of the clip, clip): the first one with audio, and the latest
    first = latest = None

    def labels(sample: Mapping) -> Iterator[tuple[str, int]]:
        return zip(
            tasks, sample['data_samples'].gt_label.tolist(), strict=True
        )

    def shuffle(chain: Sequence[tuple[int, Mapping]]) -> None:
        """Run each clip of a chain with the audio of the one before."""
        pairs = [(b, a) for (_, a), (_, b) in pairwise(chain)]
        if not pairs:
            return
        found = with_audio_of(recognizer, pairs)
        for (index, sample), scores in zip(chain[1:], found, strict=True):
            for task, label in labels(sample):
                by_part = answers[task][index].by_part
                by_part[SHUFFLED] = _answer(scores[task], label)

    for batch in _batches(samples, batch_size):
        start = len(answers[tasks[0]])
        for sample, found in zip(
            batch, contributions_of(recognizer, batch), strict=True
        ):
            has_audio = not lacks_audio(sample) if uses_audio else None
            for task, label in labels(sample):
                by_part = {
                    part: _answer(scores[task], label)
                    for part, scores in {
                        WHOLE: found.whole,
                        **found.parts,
                    }.items()
                }
                answers[task].append(ClipAnswers(label, has_audio, by_part))
        chain = [
            (index, sample)
            for index, sample in enumerate(batch, start)
            if uses_audio and not lacks_audio(sample)
        ]
        if chain:
            shuffle([*([latest] if latest else []), *chain])
            first, latest = first or chain[0], chain[-1]
    if first is not None and first[0] != latest[0]:
        shuffle([latest, first])
    return answers


def _batches(samples: Iterable[Mapping], size: int) -> Iterator[list[Mapping]]:
    iterator = iter(samples)
    while batch := list(islice(iterator, size)):
        yield batch


def _answer(scores: Tensor, label: int) -> Answer:
    return Answer(scores.argmax().item() == label, scores[label].item())
