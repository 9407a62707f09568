# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Addresses of weights, and names that are safe to write to."""

import os
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

HF_SCHEME = 'hf://'
HUGGING_FACE = 'https://huggingface.co'
SAFE_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._+-]*')
RESERVED = ('.part', '.part.json', '.lock')


class Request(NamedTuple):
    """What to ask a server for."""

    url: str
    headers: dict[str, str]


def resolve(address: str) -> Request:
    """Turn an address of the catalogue into a request.

    ``hf://owner/name/file`` is a file on the Hugging Face Hub; ``HF_ENDPOINT``
    names a mirror and ``HF_TOKEN`` is sent to it.

    Args:
        address: ``http(s)://...`` or ``hf://owner/name/file``.

    Raises:
        ValueError: If the address has another form.
    """
    endpoint = (os.environ.get('HF_ENDPOINT') or HUGGING_FACE).rstrip('/')
    token = os.environ.get('HF_TOKEN')
    needs_token = token and address.startswith(HF_SCHEME)
    headers = {'Authorization': f'Bearer {token}'} if needs_token else {}
    return Request(plain_url(address, endpoint), headers)


def plain_url(address: str, endpoint: str = HUGGING_FACE) -> str:
    """Turn an address of the catalogue into one that a browser opens.

    Raises:
        ValueError: If the address has another form than :func:`resolve`
            takes.
    """
    if address.startswith(('http://', 'https://')):
        return address
    parts = address.removeprefix(HF_SCHEME).split('/', 2)
    is_hub = address.startswith(HF_SCHEME) and len(parts) == 3 and all(parts)
    if not is_hub:
        raise ValueError(
            f'{address!r} is no address of weights; write https://... or '
            'hf://owner/name/file'
        )
    owner, name, file = parts
    return f'{endpoint}/{owner}/{name}/resolve/main/{file}'


def file_name(address: str) -> str:
    """Name the file behind an address, as its last part does.

    Raises:
        ValueError: If the address has another form than :func:`resolve`
            takes, or its last part is no plain file name.
    """
    last = urlsplit(plain_url(address)).path.rpartition('/')[2]
    return check_file_name(unquote(last))


def check_file_name(name: str) -> str:
    """Return a name that stays inside the folder it is written to.

    Raises:
        ValueError: If it could lead elsewhere or is one that the cache uses.
    """
    safe = isinstance(name, str) and SAFE_NAME.fullmatch(name)
    if not safe or name.endswith(RESERVED):
        raise ValueError(
            f'{name!r} is no name for a file of the zoo; use letters, digits '
            f'and ._+- only, no folders, and none of the endings {RESERVED}'
        )
    return name
