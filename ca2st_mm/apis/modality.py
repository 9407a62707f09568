# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which sense decided: the same clip with a part of the model alone.

An expert is left out as ``missing_inputs='drop'`` does it: its links are
skipped and the head sums the others.  A head that was trained on all of them
has not met such a sum, so the scores say what this model can tell from a
sense, not what a model trained on that sense could.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ca2st_mm.models.backbones import MultiExpertBackbone

from .recognizer import Recognizer
from .scores import head_output, per_sample

# What the streams are to us; another one goes by its own name.
_SOUND = 'audios'
SENSES = {'imgs': 'picture', _SOUND: 'sound'}
NO_SOUND = 'the clip has no sound'
# A key that no pipeline packs.
_LEFT_OUT = '<left out>'

# Probabilities (num_classes,) by task, averaged over the views.
Scores = Mapping[str, Tensor]


@dataclass(frozen=True)
class WhichSense:
    """Scores of one clip with the whole model and with parts of it.

    Attributes:
        whole: With all experts.
        parts: With some, by name of the part: 'sound alone' and 'picture
            alone' keep the experts of a sense, 'without <expert>' all but
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
        before = self.whole[task][best]
        return {
            part: (scores[task][best] - before).item()
            for part, scores in self.parts.items()
        }


def which_sense(recognizer: Recognizer, sample: Mapping) -> WhichSense:
    """Ask one clip with every sense alone and without every expert.

    Args:
        recognizer: A multi-expert model.
        sample: What :meth:`Recognizer.prepare` returns.

    Raises:
        ValueError: If the model has a single expert.
    """
    return which_senses(recognizer, [sample])[0]


@torch.no_grad()
def which_senses(
    recognizer: Recognizer, samples: Sequence[Mapping]
) -> list[WhichSense]:
    """Ask several clips, each part of the model in one batch.

    Args:
        recognizer: A multi-expert model.
        samples: What :meth:`Recognizer.prepare` returns.

    Raises:
        ValueError: If the model has a single expert.
    """
    model = recognizer.model
    parts = parts_of(model)
    inputs = recognizer.batch(samples)['inputs']
    answers, unknown = {}, {}
    for part, experts in parts.items():
        if reason := _why_not(model.cls_head, experts):
            unknown[part] = reason
            continue
        with only_experts(model.backbone, experts):
            answers[part] = _scores(model, inputs)
    deaf = _parts_that_only_listen(model)
    found = []
    for number, whole in enumerate(_scores(model, inputs)):
        mute = deaf if has_no_sound(samples[number]) else ()
        found.append(
            WhichSense(
                whole,
                {p: a[number] for p, a in answers.items() if p not in mute},
                unknown | dict.fromkeys(mute, NO_SOUND),
            )
        )
    return found


@torch.no_grad()
def whole_scores(
    recognizer: Recognizer, samples: Sequence[Mapping]
) -> list[Scores]:
    """What the whole model says of several clips.

    Args:
        recognizer: A model.
        samples: What :meth:`Recognizer.prepare` returns.
    """
    return _scores(recognizer.model, recognizer.batch(samples)['inputs'])


def with_sound_of(sample: Mapping, other: Mapping) -> dict:
    """A prepared clip that sounds like another one.

    Its own clock stays: the other sound is heard as if it belonged here.

    Args:
        sample: The clip.
        other: Whose sound to hear.
    """
    sound = {_SOUND: other['inputs'][_SOUND]}
    return {**sample, 'inputs': {**sample['inputs'], **sound}}


def parts_of(model: nn.Module) -> dict[str, list[str]]:
    """The experts of every part that is asked, by name of the part.

    Args:
        model: A recognizer.

    Raises:
        ValueError: If it has a single expert.
    """
    senses = senses_of(model)
    parts = {f'{sense} alone': names for sense, names in senses.items()}
    for name in model.backbone.experts:
        others = [other for other in model.backbone.experts if other != name]
        parts[f'without {name}'] = others
    return parts


def senses_of(model: nn.Module) -> dict[str, list[str]]:
    """Names of the experts of each sense.

    Args:
        model: A recognizer.

    Raises:
        ValueError: If it has a single expert.
    """
    backbone = model.backbone
    if not isinstance(backbone, MultiExpertBackbone):
        raise ValueError(
            'which sense decided can be asked of a model with several '
            f'experts; this one is {type(backbone).__name__} alone'
        )
    senses: dict[str, list[str]] = {}
    for expert in backbone.experts:
        stream = backbone.inputs[expert]
        senses.setdefault(SENSES.get(stream, stream), []).append(expert)
    return senses


def has_no_sound(sample: Mapping) -> bool:
    """Whether a prepared sample is known to lack sound."""
    data_sample = sample['data_samples']
    views = data_sample.get('views')
    known = data_sample.get('has_audio', views and views.has_sound)
    return known is not None and not known


@contextmanager
def only_experts(
    backbone: MultiExpertBackbone, names: Iterable[str]
) -> Iterator[None]:
    """Run a backbone with some of its experts for a while.

    Args:
        backbone: Changed, and put back at the end.
        names: The experts that stay.
    """
    inputs, policy = backbone.inputs, backbone.missing_inputs
    kept = set(names)
    backbone.inputs = {
        name: stream if name in kept else _LEFT_OUT
        for name, stream in inputs.items()
    }
    backbone.missing_inputs = 'drop'
    try:
        yield
    finally:
        backbone.inputs, backbone.missing_inputs = inputs, policy


def _why_not(head: nn.Module, experts: Sequence[str]) -> str | None:
    """Why a head cannot answer from these experts."""
    fusions = getattr(head, 'fusions', None) or {'label': head.fusion}
    for task, fusion in fusions.items():
        if not set(experts) & set(fusion.adapters):
            return f'the head reads the {task} off {list(fusion.adapters)}'
    return None


def _parts_that_only_listen(model: nn.Module) -> list[str]:
    listeners = set(senses_of(model).get(SENSES[_SOUND], ()))
    parts = parts_of(model).items()
    return [part for part, experts in parts if listeners.issuperset(experts)]


def _scores(model: nn.Module, inputs: Any) -> list[dict[str, Tensor]]:
    """Averaged probabilities by task, of every sample."""
    count = len(next(iter(inputs.values())))
    averaged = {
        task: _average(model.cls_head, logits.float()).cpu()
        for task, logits in per_sample(
            head_output(model, inputs), count
        ).items()
    }
    return [
        {task: value[number] for task, value in averaged.items()}
        for number in range(count)
    ]


def _average(head: nn.Module, logits: Tensor) -> Tensor:
    """(count, views, classes) -> (count, classes), as the test averages."""
    if head.average_clips == 'prob':
        return logits.softmax(-1).mean(1)
    return logits.mean(1).softmax(-1)
