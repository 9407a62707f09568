# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What can be said of the Dockerfiles without building them."""

import re
import shlex
import subprocess

import pytest
from blocks import ROOT

FILES = sorted((ROOT / 'docker').glob('Dockerfile*'))
PINNED = 'requirements/pinned.txt'
each_file = pytest.mark.parametrize('path', FILES, ids=lambda p: p.name)


def steps(path):
    """(instruction, text) of a Dockerfile."""
    lines = [line for line in path.read_text().splitlines() if line[:1] != '#']
    text = '\n'.join(lines).replace('\\\n', ' ')
    return [tuple(s.split(maxsplit=1)) for s in text.splitlines() if s.strip()]


def of(path, instruction):
    return [text for name, text in steps(path) if name == instruction]


def shell_commands(path):
    for text in of(path, 'RUN'):
        yield from (part.strip() for part in text.split('&&'))


def test_there_is_one_for_the_cpu_and_one_for_cuda():
    assert [path.suffix for path in FILES] == ['', '.cuda']


@each_file
def test_python_is_that_of_the_pinned_set(path):
    wanted = re.search(r'Python (\d+\.\d+)', (ROOT / PINNED).read_text())[1]
    images = of(path, 'FROM')
    assert [re.match(r'python:([\d.]+)-', i)[1] for i in images] == [wanted]


@each_file
def test_what_it_copies_is_there_and_not_ignored(path):
    ignored = (ROOT / '.dockerignore').read_text().split()
    for text in of(path, 'COPY'):
        for source in shlex.split(text)[:-1]:
            assert (ROOT / source).exists(), source
            assert source not in ignored
    assert of(path, 'COPY')[-1] == '. .'


@each_file
def test_nothing_unpinned_is_installed(path):
    made = dict(
        re.match(r'grep .* requirements/pinned.txt +> (\S+)()', part).groups()
        for part in shell_commands(path)
        if part.startswith('grep')
    )
    installs = [p for p in shell_commands(path) if 'pip install' in p]
    assert any(f'-r {PINNED}' in part for part in installs)
    for part in installs:
        words = shlex.split(part.split('pip install')[1])
        if '-r' in words:
            assert words[words.index('-r') + 1] in {PINNED, *made}
            assert len(words) == (4 if '--index-url' in words else 2)
        else:
            assert words == ['--no-deps', '--no-build-isolation', '-e', '.']


def test_the_cpu_image_takes_three_pins_from_the_set():
    [command] = [p for p in shell_commands(FILES[0]) if p.startswith('grep')]
    done = subprocess.run(
        command.split('>')[0], shell=True, cwd=ROOT, capture_output=True
    )
    lines = done.stdout.decode().splitlines()
    names = [line.split('==')[0] for line in lines]
    assert names == ['torch', 'torchvision', 'torchaudio']


@each_file
def test_the_doctor_looks_at_it_and_it_does_not_run_as_root(path):
    names = [name for name, _ in steps(path)]
    assert 'make doctor PYTHON=python' in of(path, 'RUN')
    assert names.index('USER') < names.index('CMD')
    assert of(path, 'USER') == ['user']
    _, tool = re.findall(r'"(.*?)"', of(path, 'CMD')[0])
    assert (ROOT / tool).exists()


def test_the_page_says_that_they_were_not_built():
    page = (ROOT / 'docs/docker.md').read_text()
    assert 'Neither has been built here' in page
    for path in FILES:
        assert f'../docker/{path.name})' in page
