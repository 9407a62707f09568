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
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from .answers import Answers
from .clips import CONTAINERS
from .explaining import HANDLERS
from .headers import SafeHeaders
from .uploads import Refused, received

_NUMBER = re.compile('[0-9]{1,3}')
_LOCAL = 'localhost', '127.0.0.1'
_EVERYWHERE = '0.0.0.0', '::'


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
    ``timeline``, ``senses`` or ``attention`` in JSON, or ``error``, one
    sentence.

    Args:
        answers: Who answers.
        page: What it is about.
        host: The address it listens on; names of other hosts are refused,
            as a page that points its own name here would send.
    """
    asked = dict(
        names=answers.names,
        timeline=answers.timeline,
        senses=answers.senses,
        attention=answers.attention,
    )
    examples = {str(n): path for n, path in enumerate(page.examples)}

    def about(request: Request) -> JSONResponse:
        return JSONResponse(
            dict(
                title=page.title,
                max_bytes=page.max_bytes,
                max_seconds=answers.max_seconds,
                containers=CONTAINERS,
                examples=[path.name for path in page.examples],
            )
        )

    def example(request: Request) -> FileResponse:
        number = request.path_params['number']
        if number not in examples:
            raise Refused(404, f'there is no example {number!r}')
        return FileResponse(examples[number])

    async def ask(request: Request) -> JSONResponse:
        what = request.path_params['what']
        if what not in asked:
            raise Refused(404, f'nobody can be asked for {what!r}')
        options = _choice(request) if what == 'attention' else {}
        async with received(request, page.max_bytes) as path:
            found = await run_in_threadpool(asked[what], path, **options)
        return JSONResponse(found)

    hosts = ['*'] if host in _EVERYWHERE else [*_LOCAL, host]
    return Starlette(
        routes=[
            Route('/about', about),
            Route('/examples/{number}', example),
            Route('/ask/{what}', ask, methods=['POST']),
            Mount('/', StaticFiles(directory=_page_files(), html=True)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(SafeHeaders),
        ],
        exception_handlers=HANDLERS,
    )


def _page_files() -> str:
    return str(files('ca2st_mm.web') / 'page')


def _choice(request: Request) -> dict[str, Any]:
    """Which attention the page wants."""
    query = request.query_params
    layer = query.get('layer')
    if layer is not None and not _NUMBER.fullmatch(layer):
        raise Refused(400, f'a layer is a number from 0, not {layer!r}')
    number = None if layer is None else int(layer)
    return dict(name=query.get('map'), layer=number)
