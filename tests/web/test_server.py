# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What the server gives, refuses, and leaves behind."""

import http.client
import json
import os
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from page_server import MAX_BYTES, served

from ca2st_mm import web
from ca2st_mm.web import server
from ca2st_mm.web.server import Page, make_app

SHARED = Path(__file__).resolve().parents[3] / 'shared'
CASES = SHARED / 'cases/media'
BODY = {'Content-Type': 'application/octet-stream'}


@pytest.fixture
def ask(address):
    """Ask about a clip; the answer of HTTP."""

    def ask(content, what='names', headers=BODY, **query):
        if isinstance(content, (str, Path)):
            content = Path(content).read_bytes()
        return requests.post(
            f'{address}/ask/{what}',
            content,
            params=query,
            headers=headers,
            timeout=60,
        )

    return ask


def raw(address, method, path, headers=None):
    """Ask for a path as it is; status and body."""
    host = urlsplit(address).netloc
    connection = http.client.HTTPConnection(host, timeout=60)
    with closing(connection):
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_attention_is_chosen_by_the_query(ask, media):
    answer = ask(media['short'], 'attention', map='spatial_self', layer='1')
    found = answer.json()
    assert (found['name'], found['layer']) == ('spatial_self', 1)


def test_nothing_is_left_behind(ask, media, temporary):
    seen = []
    torch_file = b'\x80\x04\x95 a pickle'  # refused unread
    wrong = (b'no video', b'', b'\0\0\0\x18ftypxxxx', torch_file)
    for content in (media['long'], *wrong):
        seen.append(ask(content).status_code)
        assert os.listdir(temporary) == []
    assert seen == [200, 422, 422, 422, 422]


def test_the_size_is_limited_before_and_while_reading(
    ask, address, media, temporary
):
    size = str(MAX_BYTES + 1)
    path = '/ask/names?name=a.mp4'
    headers = dict(BODY, **{'Content-Length': size})
    status, body = raw(address, 'POST', path, headers)
    assert status == 413
    assert b'a.mp4: it is larger than 3 MB' in body
    piece = bytes(500_000)

    def pieces():
        for _ in range(MAX_BYTES // len(piece) + 1):
            yield piece

    assert ask(pieces()).status_code == 413
    assert os.listdir(temporary) == []
    exactly = Path(media['long']).read_bytes()
    exactly += bytes(MAX_BYTES - len(exactly))
    assert ask(exactly).status_code != 413


@pytest.mark.parametrize(
    'path',
    [
        '/../server.py',
        '/%2e%2e/server.py',
        '/..%2f..%2fversion.py',
        '/page.js/../../server.py',
        '//etc/passwd',
        '/%2fetc/passwd',
        '/examples/../../../../etc/passwd',
        '/examples/%2e%2e%2f%2e%2e%2fetc%2fpasswd',
        '/examples//etc/passwd',
        '/examples/1',
        '/examples/-1',
        '/examples/0/../1',
        '/file=/etc/passwd',
        '/ask/names',
    ],
)
def test_no_path_leads_to_another_file(address, path):
    status, body = raw(address, 'GET', path)
    assert status in (404, 405)
    assert b'import' not in body and b'root:' not in body


def test_examples_and_the_page_itself_are_given(address, media):
    answer = requests.get(f'{address}/examples/0', timeout=60)
    assert answer.content == Path(media['long']).read_bytes()
    about = requests.get(f'{address}/about', timeout=60).json()
    assert about['examples'] == ['long.mkv']
    assert (about['max_bytes'], about['max_seconds']) == (MAX_BYTES, 20)
    for path in (Path(web.__file__).parent / 'page').iterdir():
        answer = requests.get(f'{address}/{path.name}', timeout=60)
        assert answer.content == path.read_bytes()
        hosts = set(re.findall(r'//[\w-]+\.[\w.-]+', path.read_text()))
        # The name of a language, never fetched.
        assert hosts <= {'//www.w3.org'}, path.name


def test_names_from_a_browser_are_text_alone(ask):
    answer = ask(b'no video', name='../../etc/\x00pass\nwd')
    said = answer.json()['error']
    assert said.startswith('passwd: it is no video that this page reads')
    assert ask(b'x', name='y' * 500).json()['error'].startswith('y' * 80 + ':')
    assert ask(b'x').json()['error'].startswith('the clip: ')


def test_other_sites_cannot_ask(ask, address, media):
    for kind in ('text/plain', 'multipart/form-data; boundary=x'):
        answer = ask(media['short'], headers={'Content-Type': kind})
        assert answer.status_code == 415
    wrong = 'http://evil.example', 'null', 'http://[', address + '0'
    for origin in wrong:
        answer = ask(media['short'], headers=dict(BODY, Origin=origin))
        assert answer.status_code == 403
        assert 'other sites' in answer.json()['error']
        status, _ = raw(address, 'GET', '/about', dict(Origin=origin))
        assert status == 403
    own = dict(BODY, Origin=address)
    assert ask(media['short'], headers=own).status_code == 200
    for host in ('evil.example', '', '[::1', 'localhost.evil.example'):
        status, body = raw(address, 'GET', '/about', dict(Host=host))
        assert status == 403
        assert 'another name' in json.loads(body)['error']
    for host in ('localhost:1', 'LocalHost'):
        assert raw(address, 'GET', '/about', dict(Host=host))[0] == 200


def test_browsers_are_told_to_load_nothing_else(address):
    for path in ('/', '/about', '/nothing'):
        headers = requests.get(address + path, timeout=60).headers
        policy = headers['Content-Security-Policy']
        assert "default-src 'none'" in policy
        assert 'http' not in policy and 'unsafe' not in policy
        assert headers['X-Content-Type-Options'] == 'nosniff'
        assert 'Access-Control-Allow-Origin' not in headers


def test_a_corrupt_or_long_clip_is_one_sentence(
    ask, answers, media, temporary, monkeypatch
):
    whole = Path(media['long']).read_bytes()
    answer = ask(whole[:50] + bytes(1000), name='corrupted.mp4')
    assert answer.status_code == 422
    found = answer.json()
    assert found['error'].startswith('corrupted.mp4: it cannot be read (')
    assert str(temporary) not in answer.text
    assert 'Traceback' not in answer.text
    monkeypatch.setattr(answers, 'max_seconds', 4.0)
    answer = ask(media['long'], name='long.mkv')
    assert answer.status_code == 422
    assert answer.json()['error'].startswith('long.mkv: it lasts 5.0 s')


def test_files_that_break_readers_do_not_end_the_page(ask):
    if not CASES.is_dir():
        pytest.skip('../shared/cases is not next to this checkout')
    for path in sorted(CASES.iterdir()):
        answer = ask(path, name=path.name)
        assert answer.status_code in (200, 413, 422), path.name
        assert answer.json()


def test_an_error_of_the_program_is_one_sentence_and_not_the_end(
    ask, answers, media, monkeypatch
):
    def fail(path, max_seconds):
        raise RuntimeError('a secret')

    with monkeypatch.context() as patch:
        patch.setattr('ca2st_mm.web.answers.check_clip', fail)
        answer = ask(media['short'], name='a.mp4')
    assert answer.status_code == 500
    assert answer.json()['error'].startswith('a.mp4: it cannot be answered')
    assert 'secret' not in answer.text and 'Traceback' not in answer.text
    assert 'Content-Security-Policy' in answer.headers
    assert ask(media['short']).status_code == 200


def test_all_that_can_be_asked_is_described(address, ask, media):
    """The description names every path, and what it says comes."""
    api = requests.get(f'{address}/openapi.json', timeout=60).json()
    app = make_app(None, Page('toy', 1), '127.0.0.1')
    routes = {route.path for route in app.routes if route.path}
    routes.remove('/ask/{what}')
    assert set(api['paths']) == routes | {
        f'/ask/{what}' for what in server._QUESTIONS
    }
    for path, methods in api['paths'].items():
        [(method, call)] = methods.items()
        options = [
            one.get('name', 'name') for one in call.get('parameters', [])
        ]
        if method == 'post':
            what = path.removeprefix('/ask/')
            assert set(options) == {'name', *server._QUESTIONS[what]}
            found = ask(media['long'], what)
        else:
            url = address + path.format(number=0)
            found = requests.get(url, timeout=60)
        assert found.status_code == 200
        [(kind, content)] = call['responses']['200']['content'].items()
        said = found.headers['Content-Type']
        assert said.startswith(kind.rstrip('*'))
        if 'schema' in content:
            [schema, *_] = content['schema'].get('oneOf', [content['schema']])
            name = schema['$ref'].rpartition('/')[2]
            schema = api['components']['schemas'][name]
            keys = set(found.json())
            assert set(schema['required']) <= keys
            assert keys <= set(schema['properties'])


def test_options_are_read_or_refused(ask, media):
    answer = ask(media['short'], 'names', top_k='2', name='a')
    assert len(answer.json()['ranked']['label']) == 2
    answer = ask(media['long'], 'timeline', window='1')
    assert answer.json()['window'] == 1 and len(answer.json()['spans']) == 5
    for what, key, value in (
        ('names', 'topk', '2'),
        ('names', 'top_k', 'two'),
        ('names', 'window', '2'),
        ('timeline', 'window', 'nan'),
        ('timeline', 'window', '-1'),
        ('timeline', 'window', '0'),
        ('names', 'top_k', '0'),
        ('attention', 'layer', '0'),
        ('attention', 'layer', '9' * 5000),
    ):
        answer = ask(media['short'], what, **{key: value})
        assert answer.status_code == 400
        assert key in answer.json()['error']


def test_wrong_requests_are_one_sentence(address, ask, media):
    assert raw(address, 'GET', '/ask/names')[0] == 405
    for path, status in (('/ask', 404), ('/x', 404)):
        answer = requests.get(address + path, timeout=60)
        assert answer.status_code == status
        assert answer.json()['error'].startswith(f'GET {path}: ')
    assert ask(media['short'], 'colours').status_code == 404
    form = requests.post(
        f'{address}/ask/names', files=dict(file=b'x'), timeout=60
    )
    assert form.status_code == 415
    assert '--data-binary @clip.mp4' in form.json()['error']


def send_slowly(address, path, hang_up=False):
    """Send the first bytes of a clip, now and then one; the answer."""
    host, port = urlsplit(address).netloc.split(':')
    with socket.create_connection((host, int(port))) as client:
        head = f'POST {path} HTTP/1.1\r\nHost: {host}\r\n'
        head += f'Content-Type: {BODY["Content-Type"]}\r\n'
        client.sendall(f'{head}Content-Length: 9999\r\n\r\n'.encode())
        client.settimeout(0.1)
        for _ in range(3 if hang_up else 300):
            client.sendall(b'x')
            try:
                said = client.recv(4096)
            except TimeoutError:
                continue
            client.settimeout(10)
            while more := client.recv(4096):
                said += more
            return said
    return b''


def test_an_upload_has_a_time_limit(answers, temporary, caplog):
    page = Page('toy', MAX_BYTES, upload_seconds=1.0)
    with served(make_app(answers, page, '127.0.0.1')) as address:
        said = send_slowly(address, '/ask/names?name=a.mp4')
        assert said.startswith(b'HTTP/1.1 408')
        assert b'a.mp4: it takes more than 1 s to come' in said
        # Who hangs up leaves nothing, and no error in the terminal.
        send_slowly(address, '/ask/names', hang_up=True)
        for _ in range(600):
            if not os.listdir(temporary):
                break
            time.sleep(0.1)
    assert os.listdir(temporary) == []
    assert not [r for r in caplog.records if r.levelname == 'ERROR']


def test_when_too_many_wait_more_are_refused(
    answers, media, temporary, monkeypatch
):
    """Those that are still being sent count, too."""
    go, sent, names = threading.Event(), threading.Event(), answers.names

    def held(path):
        go.wait(timeout=60)
        return names(path)

    monkeypatch.setattr(answers, 'names', held)
    monkeypatch.setattr(server, '_MOST_WAITING', 2)
    content = Path(media['short']).read_bytes()
    page = Page('toy', MAX_BYTES, at_once=1)
    with served(make_app(answers, page, '127.0.0.1')) as address:

        def post(body=content):
            url = f'{address}/ask/names'
            return requests.post(url, body, headers=BODY, timeout=60)

        def slowly():
            yield content[:9]
            sent.wait(timeout=60)
            yield content[9:]

        with ThreadPoolExecutor(4) as pool:
            # One is sent, one is answered, one waits.
            taken = [pool.submit(post, slowly())]
            taken += [pool.submit(post) for _ in range(2)]
            health = {}
            for _ in range(600):
                health = requests.get(f'{address}/health', timeout=60).json()
                if health['waiting'] == 2 and os.listdir(temporary)[2:]:
                    break
                time.sleep(0.1)
            refused = post()
            sent.set()
            go.set()
            answered = [one.result().status_code for one in taken]
        assert post().status_code == 200
    assert health['waiting'] == 2
    assert refused.status_code == 503 and refused.headers['Retry-After']
    assert 'POST /ask/names: too many' in refused.json()['error']
    assert answered == [200] * 3


def test_eight_threads_have_the_answers_of_one(answers, media):
    page = Page('toy', MAX_BYTES, at_once=8)
    clips = dict(timeline='long')
    kinds = [(what, clips.get(what, 'short')) for what in server._QUESTIONS]
    alone = [getattr(answers, what)(media[clip]) for what, clip in kinds]
    with served(make_app(answers, page, '127.0.0.1')) as address:

        def post(kind):
            content = Path(media[kind[1]]).read_bytes()
            url = f'{address}/ask/{kind[0]}'
            answer = requests.post(url, content, headers=BODY, timeout=60)
            return answer.json()

        with ThreadPoolExecutor(8) as pool:
            asked = [*kinds, *kinds[:3], kinds[0]]
            together = list(pool.map(post, asked))
        said = requests.get(f'{address}/metrics', timeout=60).text
    for a, b in zip([*alone, *alone[:3], alone[0]], together, strict=True):
        assert json.dumps(a) == json.dumps(b)
    line = 'ca2st_requests_total{question="names",status="200"} 3.0'
    assert line in said
    assert 'ca2st_answer_seconds_count{question="attention"} 1.0' in said
