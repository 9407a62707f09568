# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The page and its answers over HTTP.

A clip is the body of a request and lives as long as that request; nothing
that a browser sends names a file here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ca2st_mm.datasets.faults import MediaError, NoAudioError, SampleFault
from ca2st_mm.visualization.style import FigureInputError

from .answers import Answers
from .uploads import CONTAINERS, ClipError, Refused, received, shown_name

_NUMBER = re.compile('[0-9]{1,3}')
_LOCAL = 'localhost', '127.0.0.1'
_EVERYWHERE = '0.0.0.0', '::'
# The page loads nothing from elsewhere and runs no script but its own.
_HEADERS = {
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-store',
}
_UNREADABLE = (
    'it cannot be read (damaged, cut short, or of a codec that the reader '
    'does not know); see whether it plays, and export it again'
)
_NO_AUDIO = 'it has no audio and the model uses audio; upload one with audio'
_UNEXPECTED = (
    'it cannot be answered because of an error in the program; the terminal '
    'of the server shows it'
)


@dataclass(frozen=True)
class Page:
    """What the page is about.

    Attributes:
        title: Name of the model.
        max_bytes: The largest clip.
        examples: Clips that the page offers.
    """

    title: str
    max_bytes: int
    examples: Sequence[Path] = ()


def make_app(answers: Answers, page: Page, host: str) -> Starlette:
    """The server, ready for ``uvicorn``.

    ``GET /about`` says what the page shows; ``GET /examples/N`` is a clip;
    ``POST /ask/WHAT`` with a clip as its body answers ``names``,
    ``timeline``, ``modalities`` or ``attention`` in JSON, or ``error``, one
    sentence.

    Args:
        answers: The questions and their answers.
        page: What it is about.
        host: Where it listens; names of other hosts are refused,
            as a page that points its own name here would send.
    """
    questions = dict(
        names=answers.names,
        timeline=answers.timeline,
        modalities=answers.modalities,
        attention=answers.attention,
    )
    examples = {str(n): path for n, path in enumerate(page.examples)}

    def about(request: Request) -> JSONResponse:
        found = dict(
            title=page.title,
            max_bytes=page.max_bytes,
            max_seconds=answers.max_seconds,
            containers=CONTAINERS,
            examples=[path.name for path in page.examples],
        )
        return JSONResponse(found)

    def example(request: Request) -> FileResponse:
        number = request.path_params['number']
        if number not in examples:
            raise Refused(404, f'there is no example {number!r}')
        return FileResponse(examples[number])

    async def ask(request: Request) -> JSONResponse:
        what, query = request.path_params['what'], request.query_params
        if what not in questions:
            raise Refused(404, f'there is no question {what!r}')
        options: dict[str, Any] = {}
        if what == 'attention':
            layer = query.get('layer')
            if layer is not None and not _NUMBER.fullmatch(layer):
                raise Refused(
                    400, f'a layer is a number from 0, not {layer!r}'
                )
            number = None if layer is None else int(layer)
            options = dict(name=query.get('map'), layer=number)
        async with received(request, page.max_bytes) as path:
            found = await run_in_threadpool(questions[what], path, **options)
        return JSONResponse(found)

    page_files = str(files('ca2st_mm.web') / 'page')
    hosts = ['*'] if host in _EVERYWHERE else [*_LOCAL, host]
    return Starlette(
        routes=[
            Route('/about', about),
            Route('/examples/{number}', example),
            Route('/ask/{what}', ask, methods=['POST']),
            Mount('/', StaticFiles(directory=page_files, html=True)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(SafeHeaders),
        ],
        exception_handlers=dict.fromkeys(
            (Refused, ClipError, FigureInputError, SampleFault, Exception),
            explain,
        ),
    )


def explain(request: Request, error: Exception) -> JSONResponse:
    """Answer with ``error``, one sentence that names the clip.

    Never with the path of the clip.  What a reader said of a file is the
    ``detail``.
    """
    more, status = {}, 422
    if isinstance(error, MediaError):
        reason, more = _UNREADABLE, dict(detail=error.reason)
    elif isinstance(error, NoAudioError):
        reason = _NO_AUDIO
    elif isinstance(error, SampleFault | ClipError | FigureInputError):
        # A fault's message speaks of annotation files; its reason does not.
        reason = getattr(error, 'reason', None) or str(error)
    elif isinstance(error, Refused):
        reason, status = str(error), error.status
    else:
        reason, status = _UNEXPECTED, 500
    sentence = f'{shown_name(request)}: {reason}.'
    return JSONResponse(dict(error=sentence, **more), status, _HEADERS)


class SafeHeaders:
    """Middleware that tells browsers what to refuse."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a request on, and add the headers to its answer."""

        async def send_with(message: Message) -> None:
            if message['type'] == 'http.response.start':
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with)
