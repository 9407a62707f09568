# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Models that answer without any training of ours, from published files.

The files are of the published layouts, written by the library that publishes
them or renamed from there; only their sizes are small.
"""

import json

import pytest
import soundfile
import torch
from layouts import ast_official, videomae_mmaction, videomae_official
from mmengine.config import Config
from safetensors.torch import load_file, save_file
from shrunk_models import SIDE, SPEC, TINY, shrink, shrink_loader
from tiny_models import randomize
from tool_runs import ROOT, plain, run_tool

from ca2st_mm import Recognizer, zoo
from ca2st_mm.checkpoints import (
    CheckpointError,
    to_reference,
    write_checkpoint,
)
from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.datasets.benchmarks import shipped_names
from ca2st_mm.models.backbones import VideoMAEExpert
from ca2st_mm.models.heads import FusionHead
from ca2st_mm.zoo import catalogue

VIDEOMAE, AST, CAST = (
    'videomae_vit-base_k400',
    'ast_audioset',
    'cast_vit-base_k400',
)
SIZES = dict(
    hidden_size=TINY['embed_dims'],
    num_hidden_layers=TINY['num_layers'],
    num_attention_heads=TINY['num_heads'],
    intermediate_size=TINY['feedforward_channels'],
    patch_size=16,
)


@pytest.fixture
def zoo_entry(tmp_path, monkeypatch):
    """An entry of the zoo with its own config and sources, but small."""
    monkeypatch.setenv('CA2ST_MM_HOME', str(tmp_path))
    monkeypatch.setenv('CA2ST_MM_OFFLINE', '1')
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hub'))

    def make(name):
        entry = zoo.find(name)
        cfg = Config.fromfile(ROOT / entry.config)
        cfg.model = shrink(cfg.model.to_dict())
        cfg.test_dataloader = shrink_loader(cfg.test_dataloader)
        config = tmp_path / 'config.py'
        lines = (f'{key} = {value!r}' for key, value in plain(cfg).items())
        config.write_text('\n'.join(lines))
        entry = entry._replace(
            config=str(config),
            sources=tuple(
                s._replace(size=None, sha256=None) for s in entry.sources
            ),
        )
        monkeypatch.setattr(catalogue, '_catalogue', lambda: {name: entry})
        (tmp_path / name).mkdir()
        return cfg, [tmp_path / name / s.file for s in entry.sources]

    return make


def live_model(name):
    """A random model of transformers, as it publishes this one."""
    transformers = pytest.importorskip('transformers', minversion='5.23')
    if name == VIDEOMAE:
        config = transformers.VideoMAEConfig(
            **SIZES, image_size=SIDE, num_frames=16, num_labels=400
        )
        model = transformers.VideoMAEForVideoClassification(config)
    else:
        config = transformers.ASTConfig(
            **SIZES, max_length=SPEC[0], num_mel_bins=SPEC[1], num_labels=527
        )
        model = transformers.ASTForAudioClassification(config)
    return randomize(model.eval(), std=0.3)


def head(weights, **names):
    """The classifier of a file of transformers, by other names."""
    return {
        f'{theirs}.{kind}': weights[f'{ours}.{kind}']
        for theirs, ours in names.items()
        for kind in ('weight', 'bias')
    }


# The file of a layout, from that of transformers.
LAYOUTS = dict(
    videomae_hf=(VIDEOMAE, dict),
    videomae_official=(
        VIDEOMAE,
        lambda w: dict(
            module={**videomae_official(w), **head(w, head='classifier')}
        ),
    ),
    videomae_mmaction=(
        VIDEOMAE,
        lambda w: dict(
            meta={},
            state_dict={
                **{
                    f'backbone.{k}': v for k, v in videomae_mmaction(w).items()
                },
                **head(w, **{'cls_head.fc_cls': 'classifier'}),
            },
        ),
    ),
    ast_hf=(AST, dict),
    ast_hf_bin=(AST, dict),
    ast_official=(
        AST,
        lambda w: {
            f'module.{key}': value
            for key, value in {
                **ast_official(w),
                **head(
                    w,
                    **{
                        'mlp_head.0': 'classifier.layernorm',
                        'mlp_head.1': 'classifier.dense',
                    },
                ),
            }.items()
        },
    ),
)


def expected(model, name, inputs):
    """Probabilities by transformers' model, averaged over the views."""
    [views] = inputs
    if name == VIDEOMAE:
        logits = model(views.transpose(1, 2)).logits
        return logits.softmax(-1).mean(0)
    return model(views[:, 0]).logits.sigmoid().mean(0)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_the_answer_is_that_of_the_publisher(
    layout, zoo_entry, tmp_path, clip
):
    name, write = LAYOUTS[layout]
    model = live_model(name)
    model.save_pretrained(tmp_path / 'theirs')
    weights = load_file(tmp_path / 'theirs' / 'model.safetensors')
    _, [first, second, *_] = zoo_entry(name)
    if layout.endswith('_hf'):
        save_file(weights, first)
    else:
        torch.save(write(weights), second)
    recognizer = Recognizer.from_pretrained(name, 'cpu', 'float32')
    [prediction] = recognizer.predict(clip, top_k=600)
    with torch.no_grad():
        inputs = recognizer.batch([recognizer.prepare(clip)])['inputs']
        theirs = expected(model, name, inputs)
    found = dict(prediction.ranked['label'])
    names = shipped_names(
        'kinetics400.txt' if name == VIDEOMAE else 'audioset.txt'
    )
    ours = torch.tensor([found[label] for label in names])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert prediction.multi_label == (name == AST)
    # Softmax adds up to 1, sigmoids of noise are about a half each.
    assert (ours.sum() > 100) == (name == AST)


def test_a_model_starts_from_a_classifier_without_the_final_norm(tmp_path):
    """As the authors' CAST does; see ``*_as_released.py``."""
    weights = live_model(VIDEOMAE).state_dict()
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'))
    torch.save(weights, init_cfg['checkpoint'])
    head = FusionHead(400, dict(temporal=24), init_cfg=init_cfg)
    head.init_weights()
    torch.testing.assert_close(
        head.fc_cls.weight, weights['classifier.weight']
    )
    head = FusionHead(12, dict(temporal=24), init_cfg=init_cfg)
    with pytest.raises(CheckpointError, match='no classifier of 12 classes'):
        head.init_weights()
    for norm, expected in ((True, weights['fc_norm.weight']), (False, 1.0)):
        expert = VideoMAEExpert(
            arch=TINY, img_size=SIDE, init_cfg=dict(init_cfg, norm=norm)
        )
        expert.init_weights()
        assert (expert.norm.weight == expected).all()


def test_class_names_of_the_publisher_come_before_ours(zoo_entry, tmp_path):
    cfg, _ = zoo_entry(VIDEOMAE)
    model = live_model(VIDEOMAE)
    shipped = shipped_names('kinetics400.txt')

    def names(folder, labels):
        model.config.id2label = dict(enumerate(labels))
        model.save_pretrained(folder)
        weights = load_file(folder / 'model.safetensors')
        torch.save(weights, folder / 'w.pth')
        whole, bare = (
            Recognizer.from_config(cfg, source, 'cpu').class_names['label']
            for source in (folder, folder / 'w.pth')
        )
        assert whole == bare
        return list(whole)

    theirs = [f'action {number}' for number in range(400)]
    assert names(tmp_path / 'a', theirs) == theirs
    numbered = [f'LABEL_{number}' for number in range(400)]
    assert names(tmp_path / 'b', numbered) == shipped
    with pytest.raises(ValueError, match='has 400 classes.*names for 3'):
        names(tmp_path / 'c', theirs[:3])


@pytest.mark.parametrize('is_video', [True, False])
def test_sounds_of_videos_and_of_audio_files(
    is_video, zoo_entry, tmp_path, clip, capsys
):
    cfg, [file, _] = zoo_entry(AST)
    model = randomize(build_model(cfg), std=0.3)
    write_checkpoint(file, model.state_dict())
    sound = tmp_path / 'sound.wav'
    soundfile.write(sound, 0.1 * torch.randn(32000).numpy(), 16000)
    out = tmp_path / 'out.json'
    assert not run_tool(
        'predict.py',
        *(clip if is_video else sound, '--model', AST, '--json', out),
    )
    printed = capsys.readouterr().out
    assert cfg.about in printed
    [record] = json.loads(out.read_text())
    assert record['multi_label'] and record['about'] == cfg.about
    labels = [one['label'] for one in record['ranked']['label']]
    assert len(labels) == 5 and all(label in printed for label in labels)


def test_the_authors_cast(zoo_entry, clip, capsys):
    cfg, [file] = zoo_entry(CAST)
    model = randomize(build_model(cfg), std=0.3)
    with torch.no_grad():
        for layer in model.backbone.experts.temporal.layers:
            layer.attention.attn.qkv.bias[24:48] = 0  # theirs has none
    theirs = to_reference(model.state_dict())
    torch.save(dict(model=theirs), file)
    assert not run_tool('predict.py', clip, '--model', CAST)
    recognizer = Recognizer.from_pretrained(CAST, 'cpu')
    for key, value in recognizer.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    [prediction] = recognizer.predict(clip, top_k=1)
    [(label, _)] = prediction.ranked['label']
    assert label in shipped_names('kinetics400.txt')
    assert label in capsys.readouterr().out


def test_class_names_are_in_the_order_of_the_heads():
    meta = pytest.importorskip('torchvision.models._meta')
    assert shipped_names('kinetics400.txt') == meta._KINETICS400_CATEGORIES
    sounds = shipped_names('audioset.txt')
    anchors = {0: 'Speech', 72: 'Animal', 137: 'Music', 300: 'Vehicle'}
    assert len(sounds) == 527
    assert {number: sounds[number] for number in anchors} == anchors
