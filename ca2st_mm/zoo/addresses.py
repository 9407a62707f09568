# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Addresses of weights, and names that are safe to write to."""

import os
import re
from typing import Dict, NamedTuple
from urllib.parse import unquote, urlsplit

HUGGING_FACE = 'https://huggingface.co'
SAFE_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._+-]*')
RESERVED = ('.part', '.part.json', '.lock')


class Request(NamedTuple):
    """What to ask a server for."""

    url: str
    headers: Dict[str, str]


def resolve(address: str) -> Request:
    """Turn an address of the catalogue into a request.

    ``hf://owner/name/file`` is a file on the Hugging Face Hub; ``HF_ENDPOINT``
    names a mirror and ``HF_TOKEN`` is sent to it.

    Args:
        address: ``http(s)://...`` or ``hf://owner/name/file``.

    Raises:
        ValueError: If the address has another form.
    """
    scheme, _, rest = address.partition('://')
    if scheme in ('http', 'https'):
        return Request(address, {})
    parts = rest.split('/', 2)
    if scheme != 'hf' or len(parts) < 3 or not all(parts):
        raise ValueError(
            f'{address!r} is no address of weights; write https://... or '
            'hf://owner/name/file'
        )
    owner, name, file = parts
    endpoint = (os.environ.get('HF_ENDPOINT') or HUGGING_FACE).rstrip('/')
    token = os.environ.get('HF_TOKEN')
    headers = {'Authorization': f'Bearer {token}'} if token else {}
    return Request(f'{endpoint}/{owner}/{name}/resolve/main/{file}', headers)


def file_name(address: str) -> str:
    """Name the file behind an address, as its last part does.

    Raises:
        ValueError: If the address has another form than :func:`resolve`
            takes, or its last part is no plain file name.
    """
    url = resolve(address).url
    return check_file_name(unquote(urlsplit(url).path).rpartition('/')[2])


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
