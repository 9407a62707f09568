# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A small server of files that can misbehave, and entries that point to it."""

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from ca2st_mm.zoo import Entry, Source


def saved(content):
    """A zip file, as ``torch.save`` writes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr(zipfile.ZipInfo('data'), content)
    return file.getvalue()


BODY = saved(bytes(range(256)) * 1200)
PAGE = b'<!doctype html><html>Sign in</html>'


@dataclass
class Served:
    """A file; ``sent`` are the bytes that come before the line breaks."""

    body: bytes = BODY
    status: int = 200
    sent: int | None = None
    headers: dict = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_HEAD(self):
        file = self.server.files.get(self.path, Served(b'', 404))
        self.send_response(file.status)
        self.send_header('Content-Length', str(len(file.body)))
        for name, value in file.headers.items():
            self.send_header(name, value)
        self.end_headers()
        return file

    def do_GET(self):
        self.server.asked.append(self.path)
        file = self.do_HEAD()
        self.wfile.write(file.body[: file.sent])
        self.close_connection = True

    def log_message(self, *args):
        pass


def sha256(body=BODY):
    return hashlib.sha256(body).hexdigest()


def source(url, sha256=None, size=None):
    return Source(url, 'some', size, sha256)


def entry(*sources, name='clip_tiny'):
    return Entry(name, 'spatial expert', 'MIT', None, sources)
