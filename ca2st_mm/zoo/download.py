# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""One file from one address, resumed where it was cut."""

import json
import re
import time
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from .addresses import Request, resolve
from .errors import DownloadError

ATTEMPTS = 5
PAUSE = 0.5
"""Seconds before the second attempt; each later one waits twice as long."""
TIMEOUT = (10, 60)
"""Seconds to connect, and between two pieces of the file."""
CHUNK = 1 << 16
"""Bytes written at a time; a cut loses the piece it falls into."""
BUSY = {408, 425, 429, 500, 502, 503, 504}
PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
WHOLE_RANGE = re.compile(r'bytes \*/(\d+)')
SHA256 = re.compile(r'[0-9a-f]{64}')


class _Interrupted(Exception):
    """This attempt failed, the next one may not."""


def download(address: str, part: Path, label: str) -> str | None:
    """Fetch a file, or the rest of it.

    What an earlier call left in ``part`` is continued if the server says that
    the file is still the same (``ETag``); else it starts again.

    Args:
        address: Address as in the catalogue.
        part: Where to write; complete when this returns.
        label: What the progress bar shows, in a terminal.

    Returns:
        The sha256 that the server announces (the Hugging Face Hub does), else
        None.

    Raises:
        DownloadError: If the address gives no complete file; what has come
            stays in ``part``.
        OSError: If it cannot be written.
    """
    request = resolve(address)
    problem = ''
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _attempt(request, part, label)
        except _Interrupted as error:
            problem = str(error)
        except PASSING as error:
            problem = _plain(error)
        except requests.RequestException as error:
            raise DownloadError(_plain(error)) from error
    raise DownloadError(f'{problem}, {ATTEMPTS} times')


def discard(part: Path) -> None:
    """Remove a partial file and what is remembered about it."""
    part.unlink(missing_ok=True)
    _memo(part).unlink(missing_ok=True)


def _attempt(request: Request, part: Path, label: str) -> str | None:
    # Compressed in transit, byte ranges would mean something else.
    headers = {'Accept-Encoding': 'identity', **request.headers}
    headers.update(_continuation(request.url, part))
    with requests.get(
        request.url, headers=headers, stream=True, timeout=TIMEOUT
    ) as response:
        if not _is_complete(response, part):
            _check_status(response, part)
            _receive(response, request.url, part, label)
        return _announced_sha256(response)


def _continuation(url: str, part: Path) -> dict[str, str]:
    """Ask for the rest only, if the file is still the same."""
    try:
        memo = json.loads(_memo(part).read_text())
        size = part.stat().st_size
    except (FileNotFoundError, ValueError):
        return {}
    if not size or memo.get('url') != url or not memo.get('validator'):
        return {}
    return {'Range': f'bytes={size}-', 'If-Range': memo['validator']}


def _is_complete(response: requests.Response, part: Path) -> bool:
    """True if the server has no byte after those that are here."""
    if response.status_code != 416 or not part.exists():
        return False
    whole = WHOLE_RANGE.fullmatch(response.headers.get('Content-Range', ''))
    if whole and int(whole[1]) == part.stat().st_size:
        return True
    discard(part)
    raise _Interrupted('the partial file is longer than the whole one')


def _check_status(response: requests.Response, part: Path) -> None:
    status = response.status_code
    if status in BUSY:
        raise _Interrupted(f'{status} {response.reason}')
    if status not in (200, 206):
        hint = ''
        if status in (401, 403):
            hint = '; if it needs an account, set HF_TOKEN'
        raise DownloadError(f'{status} {response.reason}{hint}')
    if status == 206:
        start = response.headers.get('Content-Range', '')
        if not start.startswith(f'bytes {part.stat().st_size}-'):
            discard(part)
            raise _Interrupted(f'the server sent another range: {start!r}')


def _receive(
    response: requests.Response, url: str, part: Path, label: str
) -> None:
    """Write the body; a short one is an error, and can be continued."""
    if response.status_code == 200:
        discard(part)
        memo = dict(url=url, validator=_validator(response))
        _memo(part).write_text(json.dumps(memo))
    length = response.headers.get('Content-Length')
    with part.open('ab') as file, _progress() as progress:
        start = file.tell()
        total = None if length is None else start + int(length)
        task = progress.add_task(label, total=total, completed=start)
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            progress.update(task, advance=len(chunk))
        if total not in (None, file.tell()):
            raise _Interrupted(f'{file.tell()} bytes of {total}')


def _validator(response: requests.Response) -> str | None:
    """What tells one version of the file from the next, if anything does."""
    etag = response.headers.get('ETag')
    if etag and not etag.startswith('W/'):
        return etag
    return response.headers.get('Last-Modified')


def _announced_sha256(response: requests.Response) -> str | None:
    """Read the header in which the Hub names the hash of a big file."""
    for step in (*response.history, response):
        tag = step.headers.get('X-Linked-ETag', '').strip('"')
        if SHA256.fullmatch(tag):
            return tag
    return None


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _memo(part: Path) -> Path:
    return part.with_name(part.name + '.json')


def _plain(error: requests.RequestException) -> str:
    """Say in a few words what requests wraps in many."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f'no connection within {TIMEOUT[0]} s'
    if isinstance(error, requests.Timeout):
        return f'no answer within {TIMEOUT[1]} s'
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return 'the connection broke'
    if isinstance(error, requests.exceptions.SSLError):
        return 'its certificate cannot be checked'
    if isinstance(error, requests.ConnectionError):
        return 'no connection'
    return f'{type(error).__name__}: {error}'
