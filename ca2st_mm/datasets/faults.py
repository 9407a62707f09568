# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What can be wrong with a sample, as opposed to with our code.

Every error here carries ``reason``, a few words without the path, so that
faults can be counted by kind.
"""


class SampleFault(Exception):
    """One sample cannot be used; the others can.

    Args:
        message: One sentence that names the file and the cure.
        reason: The kind of fault in a few words, without the file.
    """

    def __init__(self, message: str, reason: str = 'unknown') -> None:
        super().__init__(message)
        self.reason = reason


class MediaError(SampleFault, RuntimeError):
    """A media file cannot be read; the message names it and the cure.

    Args:
        kind: What was to be read: ``'video'``, ``'the sound of'``.
        path: The file.
        why: The cause, text or exception.
    """

    def __init__(self, kind: str, path: str, why: object) -> None:
        text = ' '.join(str(why).split()).rstrip('.')
        super().__init__(
            f"Cannot read {kind} '{path}': {text}. Replace the file (or "
            'download it again), or take its line out of the annotation '
            'file.',
            f'{kind}: {text}'.replace(path, 'file'),
        )

    def __reduce__(self) -> tuple:
        # It crosses from workers to the main process by pickle; the
        # arguments of __init__ are not the ones BaseException keeps.
        return _restore, (type(self), str(self), self.reason)


class EmptyClipError(SampleFault, ValueError):
    """No frame is shown between the start and the end of a clip."""


class NoSoundError(SampleFault, ValueError):
    """A clip has no sound although sound is required."""


def _restore(kind: type, message: str, reason: str) -> SampleFault:
    """Rebuild an error that was pickled."""
    error = kind.__new__(kind, message)
    SampleFault.__init__(error, message, reason)
    return error
