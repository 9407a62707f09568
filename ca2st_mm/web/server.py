# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The page and its answers over HTTP; ``page/openapi.json`` describes them.

A clip is the body of a request and lives as long as that request; nothing
that a browser sends names a file here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ca2st_mm.datasets.faults import MediaError, NoAudioError, SampleFault
from ca2st_mm.visualization.style import FigureInputError

from .answers import Answers
from .uploads import CONTAINERS, ClipError, Refused, received, shown_name

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
_EXPLAINED = (
    *(Refused, ClipError, ClientDisconnect, FigureInputError, SampleFault),
)
_UNEXPECTED = (
    'it cannot be answered because of an error in the program; the terminal '
    'of the server shows it'
)


# Questions and what their queries may hold, besides the name of the clip.
_QUESTIONS: dict[str, dict[str, type]] = {
    'names': dict(top_k=int),
    'timeline': dict(window=float),
    'modalities': {},
    'attention': dict(map=str, layer=int),
}
_MOST_WAITING = 16  # questions, while they are sent too; more are refused


@dataclass(frozen=True)
class Page:
    """What the page is about, and its limits.

    Attributes:
        title: Name of the model.
        max_bytes: The largest clip.
        examples: Clips that the page offers.
        upload_seconds: The longest that sending a clip may take.
        at_once: How many questions the model answers at the same time; each
            takes the memory of a clip.
    """

    title: str
    max_bytes: int
    examples: Sequence[Path] = ()
    upload_seconds: float = 60.0
    at_once: int = 2


def make_app(answers: Answers, page: Page, host: str) -> Starlette:
    """The server, ready for ``uvicorn``; see ``/api.html`` for what it does.

    Args:
        answers: The questions and their answers.
        page: What it is about.
        host: Where it listens; names of other hosts are refused,
            as a page that points its own name here would send.
    """
    examples = {str(n): path for n, path in enumerate(page.examples)}
    metrics = CollectorRegistry()
    requests = Counter(
        'ca2st_requests', 'Answered', ['question', 'status'], registry=metrics
    )
    seconds = Histogram(
        'ca2st_answer_seconds', 'Of the model', ['question'], registry=metrics
    )
    limiter = anyio.CapacityLimiter(page.at_once)
    taken = 0  # questions that are sent, wait or are answered

    def about(request: Request) -> JSONResponse:
        found = dict(
            title=page.title,
            max_bytes=page.max_bytes,
            max_seconds=answers.max_seconds,
            upload_seconds=page.upload_seconds,
            containers=CONTAINERS,
            examples=[path.name for path in page.examples],
        )
        return JSONResponse(found)

    def health(request: Request) -> JSONResponse:
        waiting = taken - limiter.borrowed_tokens
        return JSONResponse(
            dict(status='ok', model=page.title, waiting=waiting)
        )

    def count(request: Request) -> Response:
        text = generate_latest(metrics)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    def example(request: Request) -> FileResponse:
        number = request.path_params['number']
        if number not in examples:
            raise Refused(404, f'there is no example {number!r}')
        return FileResponse(examples[number])

    async def ask(request: Request) -> JSONResponse:
        nonlocal taken
        what = request.path_params['what']
        if request.method != 'POST':
            raise Refused(405, 'send it by POST')
        if what not in _QUESTIONS:
            known = ', '.join(_QUESTIONS)
            raise Refused(404, f'there is no question {what!r}, but {known}')
        options = _read(request.query_params, _QUESTIONS[what])

        def answer(path: str) -> dict[str, Any]:
            with seconds.labels(what).time():
                return getattr(answers, what)(path, **options)

        if taken == page.at_once + _MOST_WAITING:
            raise Refused(503, 'too many questions wait; ask again later')
        limits = page.max_bytes, page.upload_seconds
        taken += 1
        try:
            async with received(request, *limits) as path:
                found = await anyio.to_thread.run_sync(
                    answer, path, limiter=limiter
                )
        finally:
            taken -= 1
        return JSONResponse(found)

    async def guard(request: Request, call_next: Callable) -> Response:
        """Other sites are refused, browsers warned, all counted."""
        host, status = request.headers.get('host', ''), 500
        origin = request.headers.get('origin')
        try:
            if hosts and _name_in(host) not in hosts:
                refused = Refused(403, 'this server has another name')
                answer = explain(request, refused)
            elif origin and origin.partition('://')[2] != host:
                refused = Refused(403, 'pages of other sites may not ask')
                answer = explain(request, refused)
            else:
                answer = await call_next(request)
            answer.headers.update(_HEADERS)
            status = answer.status_code
            return answer
        finally:
            # Of other paths there are as many as somebody types.
            what = request.path_params.get('what')
            question = what if what in _QUESTIONS else ''
            requests.labels(question, status).inc()

    page_files = str(files('ca2st_mm.web') / 'page')
    hosts = None if host in _EVERYWHERE else (*_LOCAL, host.lower())
    return Starlette(
        routes=[
            Route('/about', about),
            Route('/health', health),
            Route('/metrics', count),
            Route('/examples/{number}', example),
            Route('/ask/{what}', ask, methods=['GET', 'POST']),
            Mount('/', StaticFiles(directory=page_files, html=True)),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)],
        exception_handlers=dict.fromkeys(
            (*_EXPLAINED, HTTPException, Exception), explain
        ),
    )


def _read(query: QueryParams, known: dict[str, type]) -> dict[str, Any]:
    """Arguments of a question."""
    found = {}
    for key, text in query.items():
        if key == 'name':  # of the clip, for messages
            continue
        if key not in known:
            raise Refused(400, f'there is no option {key[:40]!r} here')
        kind = 'whole number' if known[key] is int else 'number'
        try:
            value = known[key](text)
            if isinstance(value, int | float) and not 0 < value < math.inf:
                raise ValueError
        except ValueError:
            raise Refused(
                400, f'{key} is a {kind} above 0, not {text[:40]!r}'
            ) from None
        found['name' if key == 'map' else key] = value
    return found


def explain(request: Request, error: Exception) -> JSONResponse:
    """Answer with ``error``, one sentence that names the clip.

    Never with the path of the clip.  What a reader said of a file is the
    ``detail``.
    """
    more, status, headers = {}, 422, dict(_HEADERS)
    name = shown_name(request)
    if isinstance(error, MediaError):
        reason, more = _UNREADABLE, dict(detail=error.reason)
    elif isinstance(error, NoAudioError):
        reason = _NO_AUDIO
    elif isinstance(error, SampleFault | ClipError | FigureInputError):
        # A fault's message speaks of annotation files; its reason does not.
        reason = getattr(error, 'reason', None) or str(error)
    elif isinstance(error, Refused):
        reason, status = str(error), error.status
        if status in (403, 404, 405, 503):  # no fault of the clip
            name = f'{request.method} {request.scope["path"][:80]}'
        if status == 503:
            headers['Retry-After'] = '5'
        # Whoever still sends is not listened to.
        headers['Connection'] = 'close'
    elif isinstance(error, ClientDisconnect):
        reason, status = 'it was not sent to its end', 400
    elif isinstance(error, HTTPException):
        name = f'{request.method} {request.scope["path"][:80]}'
        reason, status = error.detail.lower(), error.status_code
        headers.update(error.headers or {})
    else:
        reason, status = _UNEXPECTED, 500
    sentence = f'{name}: {reason}.'
    return JSONResponse(dict(error=sentence, **more), status, headers)


def _name_in(host: str) -> str | None:
    """The name or address in a ``Host``, without the port."""
    try:
        return urlsplit(f'//{host}').hostname
    except ValueError:  # brackets that do not match
        return None
