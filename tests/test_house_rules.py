# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""House rules that no other tool checks."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEADER = '# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.'


def sources(*folders, suffix='.py'):
    return [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob(f'*{suffix}'))
        if '.mim' not in path.relative_to(ROOT).parts
    ]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    'path', sources('ca2st_mm', 'configs', 'tests', 'tools'), ids=name_of
)
def test_file_starts_with_the_licence_header(path):
    assert path.read_text().splitlines()[:1] == [HEADER]


@pytest.mark.parametrize('path', sources('tools', suffix='.sh'), ids=name_of)
def test_script_has_the_licence_header(path):
    assert path.read_text().splitlines()[1] == HEADER


@pytest.mark.parametrize('path', sources('ca2st_mm', 'tools'), ids=name_of)
def test_no_bare_except(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f'line {node.lineno}'


@pytest.mark.parametrize(
    'path', sources('ca2st_mm/models'), ids=lambda p: str(p.relative_to(ROOT))
)
def test_sizes_of_one_model_stand_in_tables_only(path):
    # Frames, patches and width of ViT-B/16 belong in configs and arch tables.
    for node in ast.parse(path.read_text()).body:
        is_table = isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id.isupper()
            for target in node.targets
        )
        numbers = {
            part.value
            for part in ast.walk(node)
            if isinstance(part, ast.Constant) and type(part.value) is int
        }
        assert is_table or not numbers & {8, 196, 768}, node.lineno
