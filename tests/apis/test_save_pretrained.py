# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Every entry point takes every form of a source."""

import shutil
from collections import OrderedDict
from pathlib import Path

import huggingface_hub
import numpy as np
import pooch
import pytest
import torch
from mmengine.config import Config, config
from mmengine.registry import DefaultScope
from mmengine.runner import runner

import ca2st_mm
from ca2st_mm import Recognizer, zoo
from ca2st_mm.apis import load_weights, save_pretrained
from ca2st_mm.apis.models import build_model
from ca2st_mm.engine import launch
from ca2st_mm.engine.preflight import check_files
from ca2st_mm.zoo import catalogue, fetching

WEB = 'https://example.org/cast/model.safetensors'
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def folder(recognizers, tmp_path_factory):
    """CAST of the toy, written for others."""
    place = tmp_path_factory.mktemp('shared') / 'cast'
    return recognizers['cast'].save_pretrained(place, licence='CC0')


@pytest.fixture(params=['folder', 'file', 'checkpoint', 'zoo', 'hub', 'web'])
def source(request, folder, saved, tmp_path, monkeypatch):
    """What a user names, in each form."""
    file = folder / 'model.safetensors'
    if request.param == 'zoo':
        monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path))
        url = 'https://example.org/model.safetensors'
        entry = zoo.Entry(
            'cast_tiny',
            'model',
            'CC0',
            saved['cast'][0],
            (zoo.Source(url),),
        )
        monkeypatch.setattr(
            catalogue, '_catalogue', lambda: {'cast_tiny': entry}
        )
        (tmp_path / 'cast_tiny').mkdir()
        (tmp_path / 'cast_tiny' / file.name).symlink_to(file)
    if request.param == 'web':

        def get(self, url, output, pooch):
            assert url == WEB
            shutil.copy(file, output)

        monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path))
        monkeypatch.setattr(pooch.HTTPDownloader, '__call__', get)
    if request.param == 'hub':

        def download(repo_id, filename, revision=None, **_):
            asked = (repo_id, filename, revision)
            assert asked == ('somebody/cast', 'model.safetensors', 'v1')
            return str(file)

        monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
        monkeypatch.setattr(fetching, '_ask', lambda source: (None, None))
    return dict(
        folder=str(folder),
        file=str(file),
        checkpoint=saved['cast'][1],
        zoo='cast_tiny',
        hub='somebody/cast@v1',
        web=WEB,
    )[request.param]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without what takes MMEngine seconds and is nothing of ours."""
    monkeypatch.setattr(config, 'FormatCode', lambda text, **_: (text, True))
    monkeypatch.setattr(runner, 'collect_env', dict)


@pytest.fixture
def weights(recognizers):
    return recognizers['cast'].model.state_dict()


def assert_same(model, weights):
    own = model.state_dict()
    assert set(own) == set(weights)
    assert all(torch.equal(own[key], weights[key]) for key in own)


def test_python(source, weights, saved):
    pretrained = source == 'cast_tiny'
    assert_same(ca2st_mm.get_model(source, pretrained), weights)
    recognizer = Recognizer.from_pretrained(source, 'cpu')
    assert_same(recognizer.model, weights)
    assert recognizer.class_names['label'][0] != '0'
    model = build_model(Config.fromfile(saved['cast'][0]))
    load_weights(model, source)
    assert_same(model, weights)


def test_a_run(source, weights, saved, tmp_path, request):
    cfg = Config.fromfile(saved['cast'][0])
    cfg.merge_from_dict(
        dict(
            load_from=source,
            work_dir=str(tmp_path / 'work'),
            experiment_name=request.node.name,
        )
    )
    check_files(cfg, 'test')
    run = launch.build_runner(cfg)
    run.load_or_resume()
    assert_same(run.model, weights)


def test_without_a_scope_of_a_run_the_answer_is_the_same(
    folder, recognizers, clip, monkeypatch
):
    """As where Python has just been started."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    loaded = Recognizer.from_pretrained(folder, 'cpu')
    expected, found = (
        one.logits([one.prepare(clip)])['label']
        for one in (recognizers['cast'], loaded)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_the_folder_holds(folder):
    assert {p.name for p in folder.iterdir()} == {
        'README.md',
        'config.py',
        'model.safetensors',
    }
    assert all(p.stat().st_mode & 0o444 == 0o444 for p in folder.iterdir())
    card = (folder / 'README.md').read_text()
    assert 'CC0' in card and 'Numbers: none' in card


def test_the_card_names_the_licence_of_every_expert(tmp_path):
    cfg = Config.fromfile(ROOT / 'configs/cast/cast_k400.py')
    model = torch.nn.Linear(1, 1)
    model.cfg = cfg
    card = save_pretrained(model, tmp_path / 'a') / 'README.md'
    lines = card.read_text().splitlines()
    for name, licence in dict(spatial='MIT', temporal='CC BY-NC').items():
        [line] = [x for x in lines if x.startswith(f'- {name}: `zoo://')]
        assert licence in line


def test_pushing(folder, recognizers, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        'create_repo',
        lambda self, name, exist_ok: asked.append(name),
    )
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        'upload_folder',
        lambda self, repo_id, folder_path: asked.append(folder_path),
    )
    written = recognizers['cast'].save_pretrained(
        tmp_path / 'b', push_to='me/cast'
    )
    assert asked == ['me/cast', written]
    assert "'me/cast'" in (written / 'README.md').read_text()


def test_a_model_without_a_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match='has no config'):
        save_pretrained(torch.nn.Linear(1, 1), tmp_path / 'a')
