# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Many files, folders and URLs, where a bad one stops no other."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import requests

from ca2st_mm.datasets.containers import VIDEO_EXTENSIONS
from ca2st_mm.datasets.faults import MediaError, NoAudioError, SampleFault

from .modality_contributions import classify_with_contributions
from .prediction import Failure, Prediction
from .recognizer import Recognizer
from .windows import Job, Windows

NO_VIDEO = f'the folder holds no video ({", ".join(VIDEO_EXTENSIONS)})'
MAX_BYTES = 2 << 30
_TIMEOUT = 10, 60  # seconds to connect, and between two pieces
_PIECE = 1 << 20


class InputError(ValueError):
    """A source cannot be found or fetched; the message says why."""


def predict_each(
    recognizer: Recognizer,
    jobs: Iterable[Job | Failure],
    top_k: int = 5,
    batch_size: int = 1,
    missing_audio: str | None = None,
    modalities: bool = False,
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

    Yields:
        One answer a job; predictions in the order of their jobs, a failure
        as soon as it is known.

    Raises:
        ValueError: If ``modalities`` is set for a model with one expert.

    Example:
        >>> jobs = find_jobs(['clip.mp4', 'gone.mp4'], folder='.')
        >>> for answer in predict_each(recognizer, jobs, batch_size=8):
        ...     print(type(answer).__name__, answer.source)
        Failure gone.mp4
        Prediction clip.mp4
    """
    classify = Recognizer.classify
    if modalities:
        classify = classify_with_contributions
    waiting: list[tuple[Job, dict]] = []

    def answers() -> Iterator[Prediction]:
        samples = [sample for _, sample in waiting]
        predictions = classify(recognizer, samples, top_k)
        for (job, _), found in zip(waiting, predictions, strict=True):
            yield replace(found, **job.shown)
        waiting.clear()

    for job in jobs:
        if isinstance(job, Failure):
            yield job
            continue
        span = job.start, job.end
        try:
            sample = recognizer.prepare(job.source, *span, missing_audio)
        except (SampleFault, FileNotFoundError) as error:
            yield Failure(**job.shown, reason=_reason(error))
            continue
        waiting.append((job, sample))
        if len(waiting) == batch_size:
            yield from answers()
    if waiting:
        yield from answers()


def _reason(error: Exception) -> str:
    if isinstance(error, NoAudioError):
        return (
            "it has no audio; missing_audio='silence' predicts it with "
            "silence, 'drop' without the audio expert where there are others"
        )
    # A fault's message speaks of annotation files; its reason does not.
    return getattr(error, 'reason', None) or str(error)


def find_jobs(
    names: Sequence[str],
    folder: str,
    window: float | None = None,
    stride: float | None = None,
) -> Iterator[Job | Failure]:
    """Find the files that names mean, and cut them into windows.

    Lazy: a file is opened, and a URL fetched, when its turn comes; a fetched
    file is deleted when that of the next name has come.

    Args:
        names: Files, folders (their videos at any depth, by name), and URLs
            of media files.
        folder: Where fetched files go.
        window: Seconds of a window; None for one answer a file.
        stride: Seconds from the start of one window to that of the next;
            None for those of a window.

    Yields:
        What is to be predicted, or why a name cannot be.

    Raises:
        ValueError: If a length is not positive.
    """
    for name in names:
        files = [name]
        if os.path.isdir(name):
            files = videos_below(name)
            if not files:
                yield Failure(name, None, None, NO_VIDEO)
        for file in files:
            try:
                yield from _jobs_of(file, folder, window, stride)
            except (InputError, MediaError) as error:
                yield Failure(file, None, None, _reason(error))


def _jobs_of(
    name: str, folder: str, window: float | None, stride: float | None
) -> Iterator[Job]:
    stride = window if stride is None else stride
    is_url = name.startswith(('http://', 'https://'))
    path = fetch(name, folder) if is_url else name
    if not os.path.isfile(path):
        raise InputError('there is no such file or folder')
    try:
        if window is None:
            shown = dict(source=name, start=None, end=None)
            yield Job(path, None, None, shown)
        else:
            yield from Windows(path, window, stride, name)
    finally:
        if is_url:
            os.remove(path)


def count_files(names: Sequence[str]) -> int:
    """How many answers :func:`find_jobs` leads to, without windows."""
    # A folder without videos has one answer, too: that it has none.
    return sum(
        max(len(videos_below(name)), 1) if os.path.isdir(name) else 1
        for name in names
    )


def videos_below(folder: str) -> list[str]:
    """Paths of the videos in a folder, at any depth, by name."""
    return [
        str(path)
        for path in sorted(Path(folder).rglob('*'))
        if path.suffix.lower() in VIDEO_EXTENSIONS and path.is_file()
    ]


def fetch(url: str, folder: str, max_bytes: int = MAX_BYTES) -> str:
    """Fetch a media file.

    Args:
        url: ``http(s)://...``.
        folder: Where to put it.
        max_bytes: The most that is fetched.

    Returns:
        The file's path.

    Raises:
        InputError: If the server does not give it, or it is larger.
    """
    suffix = Path(urlsplit(url).path).suffix
    handle, path = tempfile.mkstemp(suffix, dir=folder)
    try:
        with (
            open(handle, 'wb') as file,
            requests.get(url, stream=True, timeout=_TIMEOUT) as response,
        ):
            response.raise_for_status()
            size = int(response.headers.get('Content-Length', 0))
            for piece in response.iter_content(_PIECE):
                file.write(piece)
                if max(size, file.tell()) > max_bytes:
                    raise InputError(
                        f'it is larger than {max_bytes / 1e6:.0f} MB; '
                        'download it yourself and name the file'
                    )
    except requests.HTTPError as error:
        os.remove(path)
        answer = f'{error.response.status_code} {error.response.reason}'
        raise InputError(f'the server answers {answer}') from error
    except requests.RequestException as error:
        os.remove(path)
        raise InputError(
            f'it cannot be fetched ({type(error).__name__}); check the URL '
            'and the connection'
        ) from error
    except InputError:
        os.remove(path)
        raise
    return path
