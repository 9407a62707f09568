# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Many clips, where a bad one stops no other."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ca2st_mm.datasets.faults import NoAudioError, SampleFault

from .modality_contributions import classify_with_contributions
from .prediction import Failure, Prediction
from .recognizer import Recognizer
from .windows import Job


def predict_each(
    recognizer: Recognizer,
    jobs: Iterable[Job | Failure],
    top_k: int = 5,
    batch_size: int = 1,
    missing_audio: str | None = None,
    modalities: bool = False,
    errors: str = 'return',
) -> Iterator[Prediction | Failure]:
    """Predict jobs as they come; no more than a batch is in memory.

    Args:
        recognizer: The model.
        jobs: What to predict; a lazy iterable stays lazy, and its failures
            pass through.
        top_k: How many classes to give.
        batch_size: How many go through the model at once.
        missing_audio: See :meth:`Recognizer.prepare`.
        modalities: Whether parts of the model are to answer alone, too.
        errors: What a job that cannot be predicted does: ``'return'``, it
            is answered by a failure; ``'raise'``, it stops all.

    Yields:
        One answer a job, in their order.

    Raises:
        ValueError: If ``modalities`` is set for a model with one expert, or
            ``errors`` is something else.

    Example:
        >>> from ca2st_mm.apis.windows import windows_of
        >>> jobs = windows_of('clip.mp4', window=1.0, stride=1.0)
        >>> for answer in predict_each(recognizer, jobs, batch_size=8):
        ...     print(type(answer).__name__, answer.source, answer.start)
        Prediction clip.mp4 0.0
        Prediction clip.mp4 1.0
    """
    if errors not in ('raise', 'return'):
        raise ValueError(f"errors is 'raise' or 'return', not {errors!r}")
    classify = Recognizer.classify
    if modalities:
        classify = classify_with_contributions
    waiting: list[tuple[Job, dict] | Failure] = []

    def answers() -> Iterator[Prediction | Failure]:
        samples = [one[1] for one in waiting if not isinstance(one, Failure)]
        found = iter(classify(recognizer, samples, top_k) if samples else ())
        for one in waiting:
            if isinstance(one, Failure):
                yield one
            else:
                yield replace(next(found), **one[0].shown)
        waiting.clear()

    size = 0
    for job in jobs:
        if isinstance(job, Failure):
            waiting.append(job)
        else:
            span = job.start, job.end
            try:
                sample = recognizer.prepare(job.source, *span, missing_audio)
                waiting.append((job, sample))
                size += 1
            except (SampleFault, FileNotFoundError) as error:
                if errors == 'raise':
                    raise
                waiting.append(Failure(**job.shown, reason=_reason(error)))
        if size in (0, batch_size):
            yield from answers()
            size = 0
    yield from answers()


def _reason(error: Exception) -> str:
    if isinstance(error, NoAudioError):
        return (
            "it has no audio; missing_audio='silence' predicts it with "
            "silence, 'drop' without the audio expert where there are others"
        )
    # A fault's message speaks of annotation files; its reason does not.
    return getattr(error, 'reason', None) or str(error)
