# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What can be wrong with a sample, as opposed to with our code.

Every error here carries ``reason``, a few words without the path, so that
faults can be counted by kind.
"""

import logging

from mmengine.logging import print_log

_REPLACE = 'Replace the file (or download it again), or leave it out.'


class SampleFault(Exception):
    """One sample cannot be used; the others can.

    Args:
        message: One sentence that names the file, and what to do.
        reason: The kind of fault in a few words, without the file.

    >>> SampleFault("'a.mp4' has no audio: leave it out.", 'no audio').reason
    'no audio'
    """

    def __init__(self, message: str, reason: str = 'unknown') -> None:
        super().__init__(message)
        self.reason = reason


class MediaError(SampleFault, RuntimeError):
    """A media file cannot be read; the message names it and what to do.

    Args:
        kind: What was to be read: ``'video'``, ``'the audio of'``.
        path: The file.
        why: The cause, text or exception.
        advice: What to do; None for a file that is damaged.

    >>> print(MediaError('video', 'a.mp4', 'it has no frame', 'Leave it out.'))
    Cannot read video 'a.mp4': it has no frame. Leave it out.
    """

    def __init__(
        self, kind: str, path: str, why: object, advice: str | None = None
    ) -> None:
        text = ' '.join(str(why).split()).rstrip('.')
        super().__init__(
            f"Cannot read {kind} '{path}': {text}. {advice or _REPLACE}",
            f'{kind}: {text}'.replace(path, 'file'),
        )

    def __reduce__(self) -> tuple:
        # It crosses from workers to the main process by pickle; the
        # arguments of __init__ are not the ones BaseException keeps.
        return _restore, (type(self), str(self), self.reason)


class RefusedError(ValueError):
    """Why a file is refused, where its name is not known.

    Args:
        why: The cause.
        advice: What to do; None for a file that is damaged.
    """

    def __init__(self, why: str, advice: str | None = None) -> None:
        super().__init__(why)
        self.advice = advice


class EmptyClipError(SampleFault, ValueError):
    """No frame is shown between the start and the end of a clip."""


class NoAudioError(SampleFault, ValueError):
    """A clip has no audio although audio is required."""


def warn(text: str) -> None:
    """Log a sentence about data that is used all the same."""
    print_log(text, logger='current', level=logging.WARNING)


def _restore(kind: type, message: str, reason: str) -> SampleFault:
    """Rebuild an error that was pickled."""
    error = kind.__new__(kind, message)
    SampleFault.__init__(error, message, reason)
    return error
