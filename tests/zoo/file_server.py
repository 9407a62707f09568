# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A small server of files that can misbehave, and entries that point to it."""

import hashlib
import re
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from ca2st_mm.zoo import Entry, Source
from ca2st_mm.zoo.addresses import file_name

BODY = bytes(range(256)) * 1200


@dataclass
class Served:
    """A file, and how the server gives it out.

    ``cut`` lists, for one answer after the other, how many bytes come before
    the connection breaks; None is a whole answer.  ``pause`` is the seconds
    before each answer.
    """

    body: bytes = BODY
    etag: str = '"first"'
    ranges: bool = True
    status: int = 200
    pause: float = 0
    cut: list = field(default_factory=list)
    headers: dict = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        file = self.server.files.get(self.path)
        if file is None or file.status != 200:
            self.reply(404 if file is None else file.status, b'', file)
            return
        time.sleep(file.pause)
        start = self.first_byte(file)
        if start and start >= len(file.body):
            whole = {'Content-Range': f'bytes */{len(file.body)}'}
            self.reply(416, b'', file, whole)
        elif start:
            span = f'bytes {start}-{len(file.body) - 1}/{len(file.body)}'
            self.reply(206, file.body[start:], file, {'Content-Range': span})
        else:
            self.reply(200, file.body, file)

    def first_byte(self, file):
        asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        same = self.headers.get('If-Range', file.etag) == file.etag
        return int(asked[1]) if asked and same and file.ranges else 0

    def reply(self, status, body, file, headers=()):
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        if file and file.etag:
            self.send_header('ETag', file.etag)
        extra = {**dict(headers), **(file.headers if file else {})}
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()
        end = file.cut.pop(0) if file and file.cut else None
        self.wfile.write(body[:end])
        if end is not None:
            self.close_connection = True

    def log_message(self, *args):
        pass


def sha256(body=BODY):
    return hashlib.sha256(body).hexdigest()


def source(address, sha256=None, size=None):
    return Source(
        address=address,
        file=file_name(address),
        layout='some',
        file_format='torch',
        sha256=sha256,
        size=size,
        how='',
        checked='never',
    )


def entry(*sources, name='clip_tiny'):
    return Entry(name, 'spatial expert', 'MIT', None, sources, ())


def left_over(home):
    """Files of the folder that are neither weights nor the zoo's own."""
    return sorted(p.name for p in home.rglob('*') if '.part' in p.name)
