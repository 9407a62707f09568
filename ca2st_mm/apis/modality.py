# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which sense decided: the same clip with a part of the model alone.

An expert is left out as ``missing_inputs='drop'`` does it: its links are
skipped and the head sums the others.  A head that was trained on all of them
has not met such a sum, so the scores say what this model can tell from a
sense, not what a model trained on that sense could.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ca2st_mm.structures import as_streams

from .model_parts import (
    SOUND,
    only_experts,
    parts_of,
    parts_that_only_listen,
    why_not,
)
from .recognizer import Recognizer
from .scores import head_output, per_sample

NO_SOUND = 'the clip has no sound'
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
        ValueError: If the model has a single expert, or a head that does
            not tell them apart.
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
        if reason := why_not(model.cls_head, experts):
            unknown[part] = reason
            continue
        with only_experts(model.backbone, experts):
            answers[part] = _scores(model, inputs)
    deaf = parts_that_only_listen(model)
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
    inputs = as_streams(sample['inputs'])
    values = as_streams(other['inputs'])[SOUND].values
    sound = {SOUND: inputs[SOUND]._replace(values=values)}
    return {**sample, 'inputs': {**inputs, **sound}}


def has_no_sound(sample: Mapping) -> bool:
    """Whether a prepared sample is known to lack sound."""
    data_sample = sample['data_samples']
    views = data_sample.get('views')
    known = data_sample.get('has_audio', views and views.has_sound)
    return known is not None and not known


def _scores(model: nn.Module, inputs: Any) -> list[dict[str, Tensor]]:
    """Averaged probabilities by task, of every sample."""
    count = len(next(iter(as_streams(inputs).values())).values)
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
