# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A config in a checkpoint is read, never run."""

from pathlib import Path

import pytest
from mmengine.config import Config

from ca2st_mm.apis.stored_config import stored_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / 'configs').glob('*/*_ek100.py'))


def read(text, **more):
    return stored_config(dict(meta=dict(cfg=text), **more), 'a.pth')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_ours_is_read_back(path):
    cfg = Config.fromfile(path)
    text = '\n'.join(f'{k} = {v!r}' for k, v in cfg.to_dict().items())
    assert read(text).to_dict() == cfg.to_dict()


def test_calls_of_dict_as_mmengine_writes_them():
    text = "a = dict(b=[dict(type='X')], c=(-1, None), d={'e f': dict(g=1)})"
    expected = dict(b=[dict(type='X')], c=(-1, None), d={'e f': dict(g=1)})
    assert read(text).a == expected


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        "a = __import__('os').system('true')",
        'a = dict(**b)',
        'a = [x for x in (1, 2)]',
        'a = dict(1)',
        'a, b = 1, 2',
        "model = dict(type='os.system', command='true')",
        "model = dict(type='mmengine.call_command', cmd=['true'])",
        "a = [dict(b=dict(type='subprocess.call'))]",
        'model = dict(type=1)',
        'a = (',
    ],
)
def test_what_could_run_is_refused(text):
    with pytest.raises(ValueError, match=r"'a\.pth' was not read"):
        read(text)


def test_types_of_other_packages_are_known():
    assert read("a = dict(type='mmpretrain.VisionTransformer')").a


def test_no_config_at_all_says_the_cure():
    with pytest.raises(ValueError, match='carries no config; name one'):
        stored_config(dict(state_dict={}), 'a.pth')


def test_modules_that_it_needs_are_named():
    text = "custom_imports = dict(imports=['ca2st_mm', 'pose_expert'])"
    with pytest.raises(ValueError, match=r"needs the modules \['pose_exp"):
        read(text)
