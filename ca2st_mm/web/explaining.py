# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Errors as one sentence that names the clip, never where it lay."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ca2st_mm.datasets.faults import MediaError, NoAudioError, SampleFault
from ca2st_mm.visualization.style import FigureInputError

from .clips import ClipError
from .uploads import Refused, shown_name

_UNREADABLE = (
    'it cannot be read (damaged, cut short, or of a codec that the reader '
    'does not know); see whether it plays, and export it again'
)
_NO_SOUND = 'it has no sound and the model listens; upload one with sound'


def explain(request: Request, error: Exception) -> Response:
    """Answer with ``error``, and ``detail`` where a reader said one.

    Args:
        request: Whose query has the name of the clip.
        error: One of :data:`HANDLERS`.
    """
    said = {}
    if isinstance(error, MediaError):
        reason, said = _UNREADABLE, dict(detail=error.reason)
    elif isinstance(error, NoAudioError):
        reason = _NO_SOUND
    else:
        # A fault's message speaks of annotation files; its reason does not.
        reason = getattr(error, 'reason', None) or str(error)
    status = error.status if isinstance(error, Refused) else 422
    sentence = f'{shown_name(request)}: {reason}.'
    return JSONResponse(dict(error=sentence, **said), status)


HANDLERS = dict.fromkeys(
    (Refused, ClipError, FigureInputError, SampleFault), explain
)
