# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Each workaround works, leaves the rest alone, and ends with the fault."""

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmaction.models.heads import BaseHead
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.utils import dependency
from mmengine.dist import utils
from mmengine.logging import HistoryBuffer
from mmengine.registry import OPTIMIZERS
from mmengine.runner.checkpoint import load_from_http
from tiny_models import MMACTION, MMPRETRAIN
from torch import nn

from ca2st_mm import compat
from ca2st_mm.compat import mmaction_import

ROOT = Path(__file__).resolve().parent.parent
LOAD_COMPAT = (
    'import importlib.util as u, sys\n'
    f'spec = u.spec_from_file_location("compat", {compat.__file__!r})\n'
    'compat = sys.modules["compat"] = u.module_from_spec(spec)\n'
    'spec.loader.exec_module(compat)\n'
)


def run_python(code, *paths):
    """Run code in a fresh interpreter that looks into ``paths`` first."""
    environ = dict(os.environ)
    environ['PYTHONPATH'] = os.pathsep.join([*map(str, paths), str(ROOT)])
    return subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env=environ,
    )


def write(path, text=''):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_fresh_process_imports_all_of_mmaction_quietly():
    done = run_python(
        'import sys\n'
        "sys.modules['mmpretrain'] = None\n"  # as if it were not installed
        'import ca2st_mm\n'
        'from mmaction.utils import register_all_modules\n'
        'register_all_modules()\n'
        "print({'transformers', 'peft', 'timm'} & set(sys.modules))\n"
        'from mmaction.registry import MODELS\n'
        f'MODELS.build({MMACTION})\n'
        'try:\n'
        f'    MODELS.build({MMPRETRAIN})\n'
        'except (ImportError, KeyError) as error:\n'
        "    print('mmpretrain' in str(error))\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''
    assert done.stdout == 'set()\nTrue\n'


def test_the_optimizer_of_transformers_is_imported_when_built(monkeypatch):
    transformers = SimpleNamespace(Adafactor=torch.optim.Adadelta)
    monkeypatch.setitem(sys.modules, 'transformers', transformers)
    cfg = dict(type='Adafactor', params=[nn.Parameter(torch.ones(2))])
    assert isinstance(OPTIMIZERS.build(cfg), torch.optim.Adadelta)


@pytest.mark.parametrize('fixed', [True, False])
def test_real_drn_wins_over_the_placeholder(tmp_path, fixed):
    package = tmp_path / 'mmaction' / 'models' / 'localizers'
    for folder in (package, package.parent, package.parent.parent):
        write(folder / '__init__.py')
    if fixed:
        write(package / 'drn' / '__init__.py')
        write(package / 'drn' / 'drn.py', 'class DRN: real = True\n')
    done = run_python(
        LOAD_COMPAT + 'compat.supply_missing_drn()\n'
        'from mmaction.models.localizers.drn.drn import DRN\n'
        'print(getattr(DRN, "real", False))',
        tmp_path,
    )
    assert done.stdout.strip() == str(fixed), done.stderr


WHOLE = SimpleNamespace(apply_chunking_to_forward=1, DropPath=1)


@pytest.mark.parametrize(
    ('version', 'module', 'loads'),
    [
        ('4.30', WHOLE, True),
        ('4.60', SimpleNamespace(renamed=1, DropPath=1), False),
        ('4.30', None, False),  # it cannot be imported
        ('5.23', WHOLE, False),
    ],
)
def test_vindlu_that_cannot_load_is_left_out(
    monkeypatch, version, module, loads
):
    """It needs timm and names that transformers dropped in time."""
    for name in ('transformers.modeling_utils', 'timm.models.layers'):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(mmaction_import, 'version', lambda name: version)
    monkeypatch.setattr(dependency, 'WITH_MULTIMODAL', True)
    compat.survive_broken_vindlu()
    assert loads == dependency.WITH_MULTIMODAL


def test_apply_again_changes_nothing():
    def state():
        return (
            list(sys.meta_path),
            list(warnings.filters),
            set(torch.serialization.get_safe_globals()),
            BaseHead.loss_by_feat,
        )

    compat.apply()  # pytest has put filters of its own before ours
    before = state()
    compat.apply()
    assert state() == before


def test_mmaction_is_imported_next_to_a_newer_mmcv(monkeypatch):
    monkeypatch.setattr(mmcv, '__version__', '2.3.6')
    monkeypatch.delitem(sys.modules, 'mmaction')
    with pytest.raises(AssertionError, match='2.3.6'):
        import mmaction  # noqa: F401
    compat.accept_newer_mmcv()
    assert mmcv.__version__ == '2.3.6'
    monkeypatch.delitem(sys.modules, 'mmaction')  # the original comes back


def test_old_mmcv_gets_one_sentence(monkeypatch):
    monkeypatch.setattr(mmcv, '__version__', '1.7.0')
    with pytest.raises(ImportError, match=r'1\.7\.0.*pip install mmcv-lite=='):
        compat.accept_newer_mmcv()


@pytest.mark.parametrize('package', ['mmaction', 'mmpretrain', 'ours'])
def test_old_escapes_of_openmmlab_are_no_warning(package):
    compat.apply()  # pytest has put filters of its own before ours
    file = f'/venv/lib/site-packages/{package}/evaluation/vqa'
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn_explicit('\\d', SyntaxWarning, f'{file}.py', 1, file)
    assert bool(seen) == (package == 'ours')


def test_numpy_names_are_restored_only_if_absent(monkeypatch):
    compat.restore_numpy_names()
    assert np.Inf == np.inf
    assert np.in1d([1, 2, 3], [2, 4]).tolist() == [False, True, False]
    assert np.trapz([1.0, 3.0]) == 2.0
    monkeypatch.setattr(np, 'Inf', 'kept', raising=False)
    compat.restore_numpy_names()
    assert np.Inf == 'kept'


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_heads_take_scores_of_either_precision_and_lists_of_topk(dtype):
    head = MODELS.build(
        dict(
            type='mmaction.TimeSformerHead',
            num_classes=3,
            in_channels=4,
            topk=[1],  # as in JSON; a tuple was asserted
        )
    )
    scores = torch.tensor([[4.0, 1, 0], [0, 1, 4]], dtype=dtype)
    samples = [ActionDataSample().set_gt_label(i) for i in (0, 1)]
    losses = head.loss_by_feat(scores, samples)
    assert losses['top1_acc'] == 0.5
    labels = torch.tensor([0, 1])
    expected = nn.functional.cross_entropy(scores.float(), labels)
    assert losses['loss_cls'].dtype == torch.float32
    torch.testing.assert_close(losses['loss_cls'], expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_processes_meet_without_a_gpu(monkeypatch):
    for name in ('RANK', 'LOCAL_RANK', 'MASTER_PORT'):
        monkeypatch.setenv(name, '0')
    monkeypatch.setenv('WORLD_SIZE', '1')
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    set_device = torch.cuda.set_device
    with pytest.raises((AssertionError, RuntimeError)):
        utils._init_dist_pytorch.__wrapped__('gloo')
    utils._init_dist_pytorch('gloo')
    try:
        assert torch.distributed.get_world_size() == 1
        assert torch.cuda.set_device is set_device
    finally:
        torch.distributed.destroy_process_group()


# -- checkpoints -----------------------------------------------------------


def test_the_history_of_a_run_loads_in_safe_mode(tmp_path):
    losses = HistoryBuffer([3.0, 1.0], [1, 1])
    torch.save(dict(losses=losses), tmp_path / 'x.pth')
    loaded = torch.load(tmp_path / 'x.pth', weights_only=True)['losses']
    assert isinstance(loaded, HistoryBuffer)
    assert loaded.data[0].tolist() == [3, 1]
    assert loaded.statistics('min') == loaded.min() == 1


@pytest.mark.parametrize('code', '?bhilqBHILQefd')
def test_numpy_values_load_in_safe_mode(tmp_path, code):
    values = [np.arange(6).reshape(2, 3).astype(code), np.dtype(code).type(1)]
    torch.save(values, tmp_path / 'x.pth')
    loaded_values = torch.load(tmp_path / 'x.pth')
    for value, loaded in zip(values, loaded_values, strict=True):
        assert loaded.dtype == value.dtype
        assert np.array_equal(loaded, value)


class Attack:
    """Pickles into a call of any function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_downloads_are_read_in_safe_mode(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cached = tmp_path / 'hub' / 'checkpoints' / 'evil.pth'
    cached.parent.mkdir(parents=True)
    torch.save(Attack(print, 'hacked'), cached)
    with pytest.raises(pickle.UnpicklingError, match='print'):
        load_from_http('https://localhost/evil.pth')


def test_safe_mode_still_refuses_foreign_code(tmp_path):
    marker, file = tmp_path / 'owned', tmp_path / 'evil.pth'
    for attack in (
        Attack(os.mkdir, str(marker)),
        Attack(eval, f'__import__("os").mkdir({str(marker)!r})'),
        Attack(getattr, HistoryBuffer, '__init__'),
        Attack(getattr, np.ndarray, 'tofile'),
    ):
        torch.save(dict(x=attack), file)
        with pytest.raises(pickle.UnpicklingError):
            torch.load(file)
        assert not marker.exists()
