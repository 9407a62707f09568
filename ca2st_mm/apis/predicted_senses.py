# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Predictions that say which sense decided."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from .modality import WhichSense, which_senses
from .prediction import Prediction, SenseAnswer
from .recognizer import Recognizer


def classify_with_senses(
    recognizer: Recognizer, samples: Sequence[Mapping], top_k: int = 5
) -> list[Prediction]:
    """Predict prepared samples, and ask every sense alone.

    Args:
        recognizer: A multi-expert model.
        samples: What :meth:`Recognizer.prepare` returns.
        top_k: How many names to give.

    Raises:
        ValueError: If the model has a single expert.
    """
    senses = which_senses(recognizer, samples)
    predictions = recognizer.classify(samples, top_k)
    return [
        replace(prediction, senses=tuple(_answers(recognizer, sense)))
        for prediction, sense in zip(predictions, senses, strict=True)
    ]


def _answers(
    recognizer: Recognizer, sense: WhichSense
) -> Iterator[SenseAnswer]:
    for task, names in recognizer.class_names.items():
        changes = sense.changes(task)
        for part, scores in sense.parts.items():
            score, best = scores[task].max(0)
            yield SenseAnswer(
                part, task, names[int(best)], score.item(), changes[part]
            )
        for part, reason in sense.unknown.items():
            yield SenseAnswer(part, task, unknown=reason)
