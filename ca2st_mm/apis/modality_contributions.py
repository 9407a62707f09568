# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Modality contributions: the same clip with a part of the model alone.

An expert is left out as ``missing_inputs='drop'`` does it: its links are
skipped and the head sums the others.  The head was trained on all experts,
so the scores say what this model can tell from a modality, not what a model
trained on that modality could.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ca2st_mm.models.backbones import MultiExpertBackbone

from .prediction import PartAnswer, Prediction
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

    Example:
        >>> whole = dict(label=torch.tensor([0.1, 0.9]))
        >>> audio = {'audio alone': dict(label=torch.tensor([0.5, 0.5]))}
        >>> round(ModalityContributions(whole, audio, {}).changes()[
        ...     'audio alone'], 2)
        -0.4
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
    """:func:`modality_contributions` of several clips in one batch."""
    model = recognizer.model
    parts = parts_of(model)
    inputs = recognizer.batch(samples)['inputs']

    def scores(experts: Sequence[str] | None = None) -> list[Scores]:
        output = head_output(model, inputs, experts)
        found = recognizer.probabilities(per_sample(output, len(samples)))
        return unbatched({task: value.cpu() for task, value in found.items()})

    by_part, unknown = {}, {}
    for part, experts in parts.items():
        if reason := _why_not(model.cls_head, experts):
            unknown[part] = reason
        else:
            by_part[part] = scores(experts)
    with_audio = set(modalities_of(model).get('audio', ()))
    audio_only = [
        p for p, experts in parts.items() if with_audio >= {*experts}
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
    """:meth:`Recognizer.classify`, with the answers of every part alone."""
    contributions = contributions_of(recognizer, samples)
    predictions = recognizer.classify(samples, top_k)
    answered = []
    for prediction, found in zip(predictions, contributions, strict=True):
        answers: list[PartAnswer] = []
        for task, names in recognizer.class_names.items():
            changes = found.changes(task)
            for part, scores in found.parts.items():
                score, best = scores[task].max(0)
                said = names[int(best)], score.item(), changes[part]
                answers.append(PartAnswer(part, task, *said))
            for part, reason in found.unknown.items():
                answers.append(PartAnswer(part, task, unknown=reason))
        answered.append(replace(prediction, modalities=tuple(answers)))
    return answered


def modalities_of(model: nn.Module) -> dict[str, list[str]]:
    """Names of the experts of each modality.

    Raises:
        ValueError: If the model has a single expert.
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
        modality = MODALITIES.get(stream, stream)
        modalities.setdefault(modality, []).append(expert)
    return modalities


def parts_of(model: nn.Module) -> dict[str, list[str]]:
    """The experts of every part, by name of the part.

    Raises:
        ValueError: If the model has a single expert.
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
