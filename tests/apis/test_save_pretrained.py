# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models are shared as one name, which every entry point takes."""

import copy
import json
import os
import runpy
import shutil
import subprocess
import sys
from types import SimpleNamespace

import huggingface_hub
import pooch
import pytest
import tiny_models as tiny
import torch
from extract_features import SETTINGS
from mmengine.config import Config
from tool_runs import ROOT, run_tool, save, toy_config

import ca2st_mm
from ca2st_mm import Recognizer, zoo
from ca2st_mm.apis import save_pretrained
from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.engine import launch
from ca2st_mm.engine.preflight import check_files
from ca2st_mm.utils.hashing import sha256_of_tensors
from ca2st_mm.zoo import catalogue

WEB = 'https://example.org/cast/model.safetensors'


@pytest.fixture(scope='module')
def shared(toy, clips, tmp_path_factory):
    """CAST of the toy with frozen experts, as training and others have it."""
    place = tmp_path_factory.mktemp('shared')
    cfg = toy_config(toy)
    for name, expert in cfg.model.backbone.experts.items():
        source = dict(type='Pretrained', checkpoint=f'{place / name}.pth')
        frozen = ('embed', 'layers')
        expert.update(adapter_ratio=0.25, frozen_parts=frozen, init_cfg=source)
    config, checkpoint = save(place / 'run', cfg)
    weights = torch.load(checkpoint)['state_dict']
    for name in cfg.model.backbone.experts:
        prefix = f'backbone.experts.{name}.'
        own = {k: v for k, v in weights.items() if k.startswith(prefix)}
        own = {k.removeprefix(prefix): v for k, v in own.items()}
        torch.save(own, place / f'{name}.pth')
    recognizer = Recognizer.from_pretrained(checkpoint, 'cpu')
    return SimpleNamespace(
        clip=clips[0],
        config=config,
        checkpoint=checkpoint,
        weights=weights,
        recognizer=recognizer,
        folder=recognizer.save_pretrained(place / 'cast', licence='CC0'),
        delta=recognizer.save_pretrained(place / 'delta', delta=True),
    )


FORMS = {
    'zoo name': 'cast_tiny',
    'zoo:// URL': 'zoo://cast_tiny',
    'folder': lambda shared: shared.folder,
    'folder of a delta': lambda shared: shared.delta,
    '.safetensors': lambda shared: shared.folder / 'model.safetensors',
    '.pth': lambda shared: shared.checkpoint,
    'owner/name@revision': 'somebody/cast@v1',
    'hf:// URL': 'hf://somebody/cast@v1/model.safetensors',
    'https:// URL': WEB,
}


@pytest.fixture(params=FORMS)
def source(request, shared, tmp_path, monkeypatch):
    """What a user names, in each form; the network is played."""
    file = shared.folder / 'model.safetensors'
    sources = (zoo.Source('https://example.org/model.safetensors'),)
    entry = zoo.Entry('cast_tiny', 'model', 'CC0', shared.config, sources)
    monkeypatch.setattr(catalogue, '_catalogue', lambda: {entry.name: entry})
    monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path))
    (tmp_path / entry.name).mkdir()
    (tmp_path / entry.name / file.name).symlink_to(file)

    def get(self, url, output, pooch):
        assert url == WEB
        shutil.copy(file, output)

    def download(repo_id, revision=None, **_):
        assert (repo_id, revision) == ('somebody/cast', 'v1')
        return str(shared.folder)

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
    api = huggingface_hub.HfApi
    monkeypatch.setattr(api, 'repo_info', lambda *_, **__: None)
    monkeypatch.setattr(pooch.HTTPDownloader, '__call__', get)
    form = FORMS[request.param]
    return str(form(shared) if callable(form) else form)


def get_model(source, shared, tmp_path):
    return ca2st_mm.get_model(source, pretrained='cast_tiny' in source)


def recognizer(source, shared, tmp_path):
    found = Recognizer.from_pretrained(source, 'cpu')
    assert found.class_names == shared.recognizer.class_names
    return found.model


def tool(name, use, *flags):
    """What is made of the functions of a tool and its flags."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [name, *map(str, flags)])
        found = SimpleNamespace(**runpy.run_path(str(ROOT / 'tools' / name)))
        return use(found, found.parse_args())


def predict(source, shared, tmp_path):
    flags = ('clip.mp4', '--model', source)
    return tool('predict.py', lambda f, args: f.load(args).model, *flags)


def web(source, shared, tmp_path):
    flags = ('--model', source)
    return tool('demo_web.py', lambda f, args: f.load(args)[1].model, *flags)


def export(source, shared, tmp_path):
    def load(found, args):
        return found.load(args, Config.fromfile(args.config))[0]

    return tool('export.py', load, shared.config, source)


def features(tmp_path, *flags):
    out = tmp_path / 'features'
    assert not run_tool('extract_features.py', *flags, '--out', out)
    return json.loads((out / SETTINGS).read_text())['weights']


def extract_features(source, shared, tmp_path):
    return features(tmp_path, shared.config, source, shared.clip)


def features_of_model(source, shared, tmp_path):
    return features(tmp_path, '--model', source, shared.clip)


def load_for_run(found, args):
    cfg = launch.load_config(args)
    if hasattr(args, 'checkpoint'):
        found.apply_flags(cfg, args)
    check_files(cfg, 'test')
    run = launch.build_runner(cfg)
    run.load_or_resume()
    return run.model


def test(source, shared, tmp_path):
    flags = shared.config, source, '--work-dir', tmp_path / 'work'
    return tool('test.py', load_for_run, *flags)


def train(source, shared, tmp_path):
    flags = shared.config, '--work-dir', tmp_path / 'work'
    flags += '--cfg-options', f'load_from={source}'
    return tool('train.py', load_for_run, *flags)


ENTRY_POINTS = (
    get_model,
    recognizer,
    predict,
    extract_features,
    features_of_model,
    export,
    test,
    train,
    web,
)
# No test of pytest.
test.__test__ = False


@pytest.mark.parametrize('load', ENTRY_POINTS, ids=lambda f: f.__name__)
def test_every_entry_point_takes_every_form(load, source, shared, tmp_path):
    found = load(source, shared, tmp_path)
    if not isinstance(found, str):
        found = sha256_of_tensors(found.state_dict())
    assert found == sha256_of_tensors(shared.weights)


@pytest.mark.slow  # imports all anew; the forms above load in this process
def test_a_fresh_process_gives_equal_logits(shared, tmp_path):
    recognizer, out = shared.recognizer, tmp_path / 'logits.pth'
    expected = recognizer.logits([recognizer.prepare(shared.clip)])
    code = (
        'import sys, torch, ca2st_mm\n'
        '_, model, clip, out = sys.argv\n'
        'model = ca2st_mm.Recognizer.from_pretrained(model, "cpu")\n'
        'torch.save(model.logits([model.prepare(clip)]), out)'
    )
    subprocess.run(
        [sys.executable, '-c', code, shared.delta, shared.clip, out],
        check=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )
    torch.testing.assert_close(torch.load(out), expected, rtol=1e-5, atol=0)


def test_what_a_folder_holds(shared, tmp_path):
    with_umask = os.umask(0o077)
    try:
        folder = shared.recognizer.save_pretrained(tmp_path / 'a')
    finally:
        os.umask(with_umask)
    modes = {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir()}
    held = 'README.md', 'config.py', 'model.safetensors'
    assert modes == dict.fromkeys(held, 0o644)
    card = (shared.folder / 'README.md').read_text()
    assert 'CC0' in card and 'Numbers: none' in card
    assert shared.recognizer.about in card


def test_class_names_survive_every_way_of_saving(shared, tmp_path):
    names = shared.recognizer.class_names
    model = ca2st_mm.get_model(shared.folder)
    again = model.save_pretrained(tmp_path / 'again')
    assert Recognizer.from_pretrained(again, 'cpu').class_names == names


def test_the_card_names_the_licence_of_every_expert(tmp_path):
    backbone = copy.deepcopy(tiny.CAST)
    sources = dict(
        spatial='zoo://clip_vit-base-p16_openai',
        temporal='zoo://videomae_vit-base-p16_k400-ft',
    )
    for name, checkpoint in sources.items():
        backbone['experts'][name]['init_cfg'] = dict(
            type='Pretrained', checkpoint=checkpoint
        )
    model = tiny.build(backbone)
    model.cfg = Config(dict(model=dict(backbone=backbone)))
    card = save_pretrained(model, tmp_path / 'a') / 'README.md'
    lines = card.read_text().splitlines()
    for name, licence in dict(spatial='MIT', temporal='CC BY-NC').items():
        [line] = [x for x in lines if x.startswith(f'- {name}: `zoo://')]
        assert licence in line


def test_what_is_pushed_comes_back_by_the_name_of_its_revision(
    shared, tmp_path, monkeypatch
):
    def create(self, name, exist_ok):
        (tmp_path / name).mkdir(parents=True)

    def upload(self, repo_id, folder_path):
        place = tmp_path / repo_id / 'f00d'
        shutil.copytree(folder_path, place)
        return SimpleNamespace(oid=place.name)

    def download(repo_id, revision, **_):
        return str(tmp_path / repo_id / revision)

    for owner, name, played in (
        (huggingface_hub.HfApi, 'create_repo', create),
        (huggingface_hub.HfApi, 'upload_folder', upload),
        (huggingface_hub, 'snapshot_download', download),
    ):
        monkeypatch.setattr(owner, name, played)
    monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path / 'home'))
    source = shared.recognizer.push_to_hub('me/cast', delta=True)
    assert source == 'me/cast@f00d'
    card = (tmp_path / 'me/cast/f00d/README.md').read_text()
    assert "from_pretrained('me/cast')" in card
    found = ca2st_mm.get_model(source).state_dict()
    assert sha256_of_tensors(found) == sha256_of_tensors(shared.weights)


def test_what_a_recipe_builds_is_shared_with_its_config(shared, tmp_path):
    cfg = Config.fromfile(shared.config)
    model = build_model(cfg)
    with pytest.raises(ValueError, match='no config.*give config='):
        model.save_pretrained(tmp_path / 'a')
    folder = model.save_pretrained(tmp_path / 'a', config=cfg)
    found = ca2st_mm.get_model(folder).state_dict()
    assert sha256_of_tensors(found) == sha256_of_tensors(model.state_dict())


def test_a_model_without_a_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match='has no config'):
        save_pretrained(torch.nn.Linear(1, 1), tmp_path / 'a')
