# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Modality contributions: the same clip with every coalition of experts.

An expert is left out as ``missing_inputs='drop'`` does it: its links are
skipped and the head sums the others.  The head was trained on all experts,
so the scores say what this model can tell from a modality, not what a model
trained on that modality could.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor, nn

from ca2st_mm.models.backbones import MultiExpertBackbone
from ca2st_mm.models.layers import fusions_of
from ca2st_mm.structures import Stream, as_streams

from .prediction import Names, PartAnswer, per_sample, unbatched

AUDIO = 'audios'  # the stream of audio
# A stream with another name is a modality of its own.
MODALITIES = {'imgs': 'video', AUDIO: 'audio'}
NO_AUDIO = 'the clip has no audio'
# Probabilities (num_classes,) by task, averaged over the views.
Scores = dict[str, Tensor]
# Modalities or experts that answer without the others.
Coalition = frozenset[str]


def coalitions_of(players: Iterable[str]) -> list[Coalition]:
    """All sets of players, from none to all.

    Example:
        >>> [sorted(c) for c in coalitions_of(['audio', 'video'])]
        [[], ['audio'], ['video'], ['audio', 'video']]
    """
    players = list(players)
    return [
        frozenset(chosen)
        for size in range(len(players) + 1)
        for chosen in combinations(players, size)
    ]


def of_groups(
    values: Mapping[Coalition, Any], groups: Mapping[str, Iterable[str]]
) -> dict[Coalition, Any]:
    """The values of coalitions of groups, such as modalities of experts.

    Args:
        values: By coalition of members.
        groups: Members by name of the group.
    """
    return {
        chosen: values[frozenset(m for group in chosen for m in groups[group])]
        for chosen in coalitions_of(groups)
    }


def shapley_values(values: Mapping[Coalition, Any]) -> dict[str, Any]:
    """Exact Shapley value of every player.

    The mean gain of a player over all orders in which the players can come
    in.  They add up to the value of all players minus that of none.  Source:
    Shapley, A value for n-person games, 1953.

    Args:
        values: Number or array of every coalition, the empty one included.

    Example:
        >>> none, a, b, both = coalitions_of('ab')
        >>> shapley_values({none: 0.0, a: 0.5, b: 0.2, both: 1.0})
        {'a': 0.65, 'b': 0.35}
    """
    players = sorted(max(values, key=len))
    found = dict.fromkeys(players, 0)
    for player in players:
        for others in coalitions_of(p for p in players if p != player):
            weight = len(players) * comb(len(players) - 1, len(others))
            gain = values[others | {player}] - values[others]
            found[player] = found[player] + gain / weight
    return found


@dataclass(frozen=True)
class ModalityContributions:
    """Scores of one clip with every coalition of experts.

    Attributes:
        answers: By coalition, the scores by task.  The one of no expert is
            what the head says of no feature at all.
        modalities: Experts of each modality.
        unknown: The parts that cannot answer, and why.

    Example:
        >>> none, a, v, both = coalitions_of(['audio', 'spatial'])
        >>> scores = {none: 0.25, a: 0.5, v: 0.75, both: 1.0}
        >>> found = ModalityContributions(
        ...     {c: dict(label=torch.tensor([s])) for c, s in scores.items()},
        ...     dict(audio=['audio'], video=['spatial']), {})
        >>> found.changes()['audio alone'], found.shapley(of='probability')
        (-0.5, {'audio': 0.25, 'video': 0.5})
    """

    answers: Mapping[Coalition, Scores]
    modalities: Mapping[str, Sequence[str]]
    unknown: Mapping[str, str]

    @property
    def whole(self) -> Scores:
        """Scores with all experts, by task."""
        return self.answers[max(self.answers, key=len)]

    @property
    def parts(self) -> dict[str, Scores]:
        """Scores with some experts, by name of the part.

        'video alone' and 'audio alone' keep the experts of a modality,
        'without <expert>' all but one.
        """
        return {
            part: self.answers[frozenset(experts)]
            for part, experts in parts_of(self.modalities).items()
            if part not in self.unknown
        }

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

    def answers_of(self, class_names: Names) -> tuple[PartAnswer, ...]:
        """What every part answers, or why it cannot."""
        answers = []
        for task, names in class_names.items():
            changes = self.changes(task)
            for part, scores in self.parts.items():
                score, best = scores[task].max(0)
                said = names[int(best)], score.item(), changes[part]
                answers.append(PartAnswer(part, task, *said))
            for part, reason in self.unknown.items():
                answers.append(PartAnswer(part, task, unknown=reason))
        return tuple(answers)

    def shapley(
        self,
        task: str = 'label',
        label: int | None = None,
        of: str = 'logit',
        experts: bool = False,
    ) -> dict[str, float]:
        """Contributions that add up: Shapley values.

        Their sum is the value of the whole model minus that of no expert.

        Args:
            task: ``label``, ``verb`` or ``noun``.
            label: The class; None for the one that the whole model chose.
            of: 'logit', the logarithm of the probability, or 'probability'.
            experts: Whether by expert, not by modality.
        """
        if label is None:
            label = int(self.whole[task].argmax())
        values = {}
        for coalition, scores in self.answers.items():
            value = scores[task][label].double()
            values[coalition] = (
                value.log() if of == 'logit' else value
            ).item()
        if not experts:
            values = of_groups(values, self.modalities)
        return shapley_values(values)


def modality_contributions(
    recognizer: Any, sample: Mapping
) -> ModalityContributions:
    """Run one clip through every coalition of experts.

    Args:
        recognizer: A :class:`Recognizer` of a multi-expert model.
        sample: What :meth:`Recognizer.prepare` returns.

    Raises:
        ValueError: If the model has a single expert, or a head that does
            not tell them apart.

    Example:
        >>> sample = recognizer.prepare('clip.mp4')
        >>> found = modality_contributions(recognizer, sample)
        >>> found.parts['audio alone']['label'].shape
        torch.Size([12])
        >>> sorted(found.shapley())
        ['audio', 'video']
    """
    return contributions_of(recognizer, [sample])[0]


@torch.no_grad()
def contributions_of(
    recognizer: Any, samples: Sequence[Mapping]
) -> list[ModalityContributions]:
    """:func:`modality_contributions` of several clips in one batch."""
    model = recognizer.model
    modalities = modalities_of(model)
    parts = parts_of(modalities)
    unknown = {
        part: reason
        for part, experts in parts.items()
        if (reason := _why_not(model.cls_head, experts))
    }
    inputs, names = recognizer.batch(samples)['inputs'], model.backbone.experts
    answers, everyone = {}, {}
    for coalition in reversed(coalitions_of(names)):  # all of them first
        features = {}
        with recognizer.autocast():
            if coalition:
                features, _ = model.extract_feat(
                    inputs, test_mode=True, experts=coalition
                )
            everyone = everyone or as_streams(features)
            for name in set(names) - coalition:
                # Of no effect, but the head may read nothing else.
                feature = everyone[name].values
                absent = feature.new_zeros(len(feature), 1)
                features[name] = Stream(feature, present=absent)
            output = model.cls_head(features)
        found = recognizer.probabilities(per_sample(output, len(samples)))
        answers[coalition] = unbatched({t: v.cpu() for t, v in found.items()})
    with_audio = set(modalities.get('audio', ()))
    audio_only = [p for p, some in parts.items() if with_audio >= {*some}]
    return [
        ModalityContributions(
            {c: scores[number] for c, scores in reversed(answers.items())},
            modalities,
            unknown | dict.fromkeys(audio_only, NO_AUDIO)
            if lacks_audio(sample)
            else unknown,
        )
        for number, sample in enumerate(samples)
    ]


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


def parts_of(modalities: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The experts of every part, by name of the part."""
    parts = {f'{name} alone': [*m] for name, m in modalities.items()}
    experts = [expert for members in modalities.values() for expert in members]
    for name in experts:
        parts[f'without {name}'] = [e for e in experts if e != name]
    return parts


def _why_not(head: nn.Module, experts: Sequence[str]) -> str | None:
    """Why a head cannot answer from some experts; None if it can."""
    fusions = fusions_of(head)
    if not fusions:
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
