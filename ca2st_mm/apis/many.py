# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Many spans of many sources, where one that is bad stops none."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from ca2st_mm.datasets.faults import NoAudioError, SampleFault

from .prediction import Prediction
from .recognizer import Recognizer
from .samples import Source

# (recognizer, samples, top_k=...) -> predictions
Classify = Callable[..., list[Prediction]]


class Job(NamedTuple):
    """Something to predict.

    Attributes:
        source: As :meth:`Recognizer.prepare` takes it.
        start: First second wanted; None for the beginning.
        end: Last second wanted; None for the end.
        shown: What the answer says of it: ``source``, ``start``, ``end``.
    """

    source: Source
    start: float | None
    end: float | None
    shown: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """A source, or a span of it, that could not be predicted.

    Attributes:
        source: The file, or the name of the arrays.
        start: First second of the span; None for the beginning.
        end: Last second of the span; None for the end.
        reason: Why, without the name.
    """

    source: str
    start: float | None
    end: float | None
    reason: str

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


def predict_each(
    recognizer: Recognizer,
    jobs: Iterable[Job],
    top_k: int = 5,
    batch_size: int = 1,
    classify: Classify = Recognizer.classify,
) -> Iterator[Prediction | Failure]:
    """Predict jobs as they come; no more than a batch is in memory.

    Args:
        recognizer: Who predicts.
        jobs: What to predict; a lazy iterable stays lazy.
        top_k: How many names to give.
        batch_size: How many go through the model at once.
        classify: How a batch of samples is predicted.

    Yields:
        One answer a job; predictions in the order of their jobs, a failure
        as soon as it is known.
    """
    predict = partial(classify, recognizer, top_k=top_k)
    waiting: list[tuple[Job, dict]] = []
    for job in jobs:
        try:
            sample = recognizer.prepare(job.source, job.start, job.end)
        except (SampleFault, FileNotFoundError) as error:
            yield Failure(**job.shown, reason=_reason(error))
            continue
        waiting.append((job, sample))
        if len(waiting) == batch_size:
            yield from _shown(waiting, predict)
            waiting = []
    if waiting:
        yield from _shown(waiting, predict)


def _shown(
    waiting: list[tuple[Job, dict]],
    predict: Callable[[Sequence[dict]], list[Prediction]],
) -> Iterator[Prediction]:
    jobs, samples = zip(*waiting, strict=True)
    found = predict(samples)
    for job, prediction in zip(jobs, found, strict=True):
        yield replace(prediction, **job.shown)


def _reason(error: Exception) -> str:
    if isinstance(error, NoAudioError):
        return (
            'it has no sound and the model listens; to go on without, set '
            "LoadAudio(missing='silence') or LoadAudio(missing='drop') in "
            'the test pipeline of the config'
        )
    # A fault's message speaks of annotation files; its reason does not.
    return getattr(error, 'reason', None) or str(error)
