# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every entry point refuses a checkpoint that does not fit its model."""

import math

import pytest
import torch
from mmengine.config import Config
from tiny_models import randomize
from tool_runs import run_tool, toy_config, write_data

import ca2st_mm  # noqa: F401
from ca2st_mm.apis import load_weights
from ca2st_mm.checkpoints import CheckpointError
from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.engine import launch

HEAD = 'cls_head.fc_cls.weight'


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    """A tiny CAST: its config file, and noise as its weights."""
    folder = tmp_path_factory.mktemp('toy')
    write_data(folder)
    cfg = toy_config(folder)
    cfg.work_dir = str(folder / 'work')
    path = folder / 'config.py'
    entries = {k: v for k, v in cfg.to_dict().items() if k != 'filename'}
    path.write_text('\n'.join(f'{k} = {v!r}' for k, v in entries.items()))
    return path, randomize(build_model(cfg), std=0.2).state_dict()


def spoil(weights, fault):
    """Weights with a fault, and what the message has to say of them."""
    weights = dict(weights)
    first = next(iter(weights))
    if fault == 'shapes':
        weights = {
            key: value[:-1] if value.ndim and len(value) > 1 else value
            for key, value in weights.items()
        }
        return weights, r'\(15, 3, 16, 16\).*\(16, 3, 16, 16\)'
    if fault == 'other model':
        weights = {
            key if '.experts.spatial.' in key else f'other.{key}': value
            for key, value in weights.items()
        }
        return weights, 'unexpected.*other.*missing|missing.*unexpected.*other'
    if fault == 'missing':
        del weights[HEAD]
        return weights, HEAD
    if fault == 'unexpected':
        weights['cls_head.fc_new.weight'] = torch.zeros(1)
        return weights, 'fc_new'
    # A large float64 is finite in the file and overflows in the model.
    weights[first] = weights[first].double()
    weights[first].view(-1)[0] = dict(nan=math.nan, inf=math.inf).get(
        fault, 1e300
    )
    return weights, f'{first}.*NaN or infinite'


FAULTS = ('shapes', 'other model', 'missing', 'unexpected')
FAULTS += ('nan', 'inf', 'overflow')


@pytest.mark.parametrize('kind', [torch.int64, torch.complex64, 'sparse'])
def test_other_numbers_than_the_model_s_are_refused(toy, kind):
    model = build_model(Config.fromfile(toy[0]))
    weights = dict(toy[1])
    weights[HEAD] = (
        weights[HEAD].to_sparse()
        if kind == 'sparse'
        else weights[HEAD].to(kind)
    )
    with pytest.raises(ValueError, match=f'{HEAD}.* is {kind}'):
        load_weights(model, weights)


@pytest.fixture(params=FAULTS)
def spoiled(request, toy, tmp_path):
    weights, message = spoil(toy[1], request.param)
    path = tmp_path / 'spoiled.pth'
    meta = dict(epoch=1, iter=3, cfg=toy[0].read_text())
    torch.save(dict(meta=meta, state_dict=weights, message_hub={}), path)
    return str(path), message


def runner_of(toy, name, **changes):
    cfg = Config.fromfile(toy[0])
    cfg.merge_from_dict(dict(experiment_name=name, **changes))
    return launch.build_runner(cfg)


@pytest.fixture(scope='module')
def run(toy):
    """Starts loading again and again."""
    made = runner_of(toy, 'again')

    def start(checkpoint, resume=False):
        made._load_from, made._resume, made._has_loaded = (
            str(checkpoint),
            resume,
            False,
        )
        made.load_or_resume()
        return made

    return start


@pytest.mark.parametrize('resume', [False, True])
def test_a_run_refuses_it(run, spoiled, resume):
    checkpoint, message = spoiled
    refusal = pytest.raises(ValueError, match=f'(?s)spoiled.pth.*({message})')
    with refusal as caught:
        run(checkpoint, resume)
    helps = not resume and 'NaN' not in message
    assert ('load_strict=False' in str(caught.value)) == helps


@pytest.mark.parametrize('body', [b'', b'<!doctype html>Sign in', b'PK\3\4'])
def test_what_is_no_checkpoint_is_named(run, tmp_path, body):
    path = tmp_path / 'page.pth'
    path.write_bytes(body)
    with pytest.raises(CheckpointError, match='page.pth.* is damaged or no'):
        run(path)


def test_text_in_a_checkpoint_is_never_run(toy, run, tmp_path):
    # MMEngine runs what stands under 'config' when it resumes.
    path, ran = tmp_path / 'a.pth', tmp_path / 'ran'
    meta = dict(config=f'import os; os.mkdir({str(ran)!r})', epoch=1, iter=3)
    hub = dict(log_scalars={}, runtime_info={}, resumed_keys={})
    torch.save(dict(meta=meta, state_dict=toy[1], message_hub=hub), path)
    assert run(path, resume=True).epoch == 1 and not ran.exists()


@pytest.fixture(scope='module')
def model(toy):
    return build_model(Config.fromfile(toy[0]))


def test_python_refuses_it_and_leaves_the_model_as_it_was(model, spoiled):
    checkpoint, message = spoiled
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=f'(?s)spoiled.pth.*({message})'):
        load_weights(model, checkpoint)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_the_command_says_one_sentence_and_gives_no_number(
    toy, tmp_path, capsys
):
    weights, _ = spoil(toy[1], 'other model')
    torch.save(dict(state_dict=weights), tmp_path / 'other.pth')
    assert run_tool('test.py', toy[0], tmp_path / 'other.pth') == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith('error: ')
    assert 'other.pth' in said.err and 'acc/top1' not in said.out + said.err


@pytest.fixture
def other_head(toy, tmp_path):
    """The checkpoint of a model with 5 classes."""
    weights = dict(toy[1])
    weights[HEAD] = torch.ones(5, 16)
    weights['cls_head.fc_cls.bias'] = torch.ones(5)
    path = tmp_path / 'five.pth'
    torch.save(dict(state_dict=weights), path)
    return str(path)


def test_fine_tuning_declares_its_new_head_and_lists_it(
    toy, run, other_head, tmp_path, request
):
    with pytest.raises(ValueError, match='load_strict=False'):
        run(other_head)
    made = runner_of(
        toy,
        request.node.name,
        load_from=other_head,
        load_strict=False,
        work_dir=str(tmp_path / 'work'),
    )
    before = made.model.state_dict()[HEAD].clone()
    made.load_or_resume()
    after = made.model.state_dict()
    assert torch.equal(after[HEAD], before)
    key = 'backbone.experts.spatial.cls_token'
    assert torch.equal(after[key], toy[1][key])
    [log] = (tmp_path / 'work').rglob('*.log')
    assert HEAD in log.read_text()


def test_no_word_of_strictness_makes_another_model_fit(toy, tmp_path):
    torch.save({'a.b': torch.zeros(1)}, tmp_path / 'foreign.pth')
    made = runner_of(
        toy,
        'foreign',
        load_from=str(tmp_path / 'foreign.pth'),
        load_strict=False,
    )
    with pytest.raises(ValueError, match='foreign.pth'):
        made.load_or_resume()


def test_prefixes_of_wrapped_parts_are_taken_off(model, toy):
    def wrapped(key):
        key = key.replace('backbone.experts.', 'backbone.module.experts.')
        return key if key.startswith('cls_head') else f'module.{key}'

    before = {k: v.clone() for k, v in model.state_dict().items()}
    other = {wrapped(k): v + 1 for k, v in toy[1].items()}
    load_weights(model, dict(model_state_dict=other, epoch=1))
    for key, value in model.state_dict().items():
        assert torch.equal(value, toy[1][key] + 1), key
    load_weights(model, before)
    head = before.pop(HEAD)
    twice = {f'model.{HEAD}': head, f'module.{HEAD}': head}
    with pytest.raises(CheckpointError, match=f"both 'model.{HEAD}' and"):
        load_weights(model, {**before, **twice})
