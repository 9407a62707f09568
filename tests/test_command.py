# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""``ca2st`` runs the files of ``tools/`` as they are."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

from ca2st_mm.version import __version__

TOOLS = Path(__file__).resolve().parent.parent / 'tools'
FILES = {
    *TOOLS.glob('*.py'),
    *(
        p
        for d in ('data', 'analysis', 'visualize')
        for p in (TOOLS / d).glob('*.py')
    ),
    *TOOLS.glob('data/*/prepare.py'),
}
LAUNCHERS = list(TOOLS.glob('*.sh'))


def ca2st(*args):
    return subprocess.run(
        [sys.executable, TOOLS / 'ca2st', *args],
        capture_output=True,
        text=True,
    )


def test_every_tool_has_a_command():
    lines = ca2st('--help').stdout.splitlines()
    shown = [line for line in lines if line.startswith('  ')]
    runs = [path for path in FILES if '__main__' in path.read_text()]
    assert len(shown) == len(runs) + len(LAUNCHERS) > 30
    assert all(len(line.split('  ')[-1].strip()) > 10 for line in shown)


def test_every_flag_has_a_help():
    for path in FILES:
        for call in ast.walk(ast.parse(path.read_text())):
            function = getattr(call, 'func', None)
            name = getattr(function, 'attr', getattr(function, 'id', None))
            if name in ('add_argument', 'add') and call.keywords:
                given = {keyword.arg for keyword in call.keywords}
                assert given & {'help', None}, ast.unparse(call)


HELP = """
import os, runpy, sys
known, places = set(sys.modules), sys.path[1:]
for path in sys.argv[1:]:
    sys.argv, sys.path[:] = [path, '--help'], [os.path.dirname(path), *places]
    for name in set(sys.modules) - known:  # what another tool imported
        if '/tools/' in (getattr(sys.modules[name], '__file__', '') or ''):
            del sys.modules[name]
    try:
        runpy.run_path(path, run_name='__main__')
    except SystemExit as stop:
        assert not stop.code, path
    assert 'torch' not in sys.modules, path
"""


def test_help_comes_before_torch_is_imported():
    runs = [path for path in FILES if '__main__' in path.read_text()]
    done = subprocess.run(
        [sys.executable, '-c', HELP, *runs], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count('usage: ') == len(runs)


def test_a_command_is_its_tool():
    said = ca2st('weights', '--help').stdout
    assert said.startswith('usage: ca2st weights ')
    assert 'python tools/' not in said
    tool = [sys.executable, TOOLS / 'weights.py', 'list']
    alone = subprocess.run(tool, capture_output=True, text=True)
    assert ca2st('weights', 'list').stdout == alone.stdout != ''
    assert ca2st('weights', 'path', 'no_such').returncode == 2


def test_the_way_of_arguments_and_configs(tmp_path):
    """Names of the documentation mean the package's configs elsewhere."""
    (tmp_path / 'tools/data').mkdir(parents=True)
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs/a.py').touch()
    shutil.copy(TOOLS / 'ca2st', tmp_path / 'tools')
    text = '"""Show."""\nimport sys\nif __name__ == "__main__":\n'
    text += '    print(*sys.argv, __file__, sep="|")\n    sys.exit(3)\n'
    for name in ('train', 'data/make_toy'):
        (tmp_path / f'tools/{name}.py').write_text(text)
    command = [sys.executable, tmp_path / 'tools/ca2st']
    for words, name in (
        (['train'], 'train'),
        (['data', 'make-toy'], 'data/make_toy'),
        (['data', 'make_toy'], 'data/make_toy'),
    ):
        done = subprocess.run(
            [*command, *words, 'configs/a.py', '--x', 'configs/no.py'],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 3
        assert done.stdout.strip().split('|') == [
            f'ca2st {" ".join(words)}'.replace('_', '-'),
            str(tmp_path / 'configs/a.py'),
            '--x',
            'configs/no.py',
            str(tmp_path / f'tools/{name}.py'),
        ]


def test_the_version_and_the_launchers_of_several_processes():
    assert ca2st('--version').stdout == f'ca2st_mm {__version__}\n'
    done = ca2st('dist-train')
    assert done.returncode == 2 and 'dist_train.sh CONFIG' in done.stderr


def test_unknown_commands_are_named():
    done = ca2st('trian')
    assert done.returncode == 2 and "'trian'; do you mean ca2st train?" in (
        done.stderr
    )
    done = ca2st('data', 'nope')
    assert done.returncode == 2 and "'data nope'" in done.stderr
    group = ca2st('data').stdout
    assert group.startswith('usage: ca2st data COMMAND')
    assert group.count('  data ') > 5
    assert 'ucf101' in ca2st('data', 'prepare', '--help').stdout


def test_a_reader_may_stop_early():
    command = f'"{sys.executable}" "{TOOLS}/ca2st" weights list | head -1'
    done = subprocess.run(
        ['bash', '-c', command], capture_output=True, text=True
    )
    assert done.stdout.count('\n') == 1 and done.stderr == ''


def test_completion_knows_commands_and_flags():
    script = (
        ca2st('completion').stdout
        + f'''
ca2st() {{ "{sys.executable}" "{TOOLS}/ca2st" "$@"; }}
COMP_WORDS=(ca2st data tr) COMP_CWORD=2; _ca2st; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(ca2st weights get --o) COMP_CWORD=3; _ca2st
echo "${{COMPREPLY[@]}}"
'''
    )
    done = subprocess.run(
        ['bash', '-c', script], capture_output=True, text=True
    )
    assert done.stdout.split() == ['trim-clips', '--offline'], done.stderr
