# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""An exported file says what the model says, and says what it is."""

import functools
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from mmengine.config import Config
from shrunk_models import SPEC, shrink, without_init
from tool_runs import run_tool

from ca2st_mm.apis.prediction import sizes_of
from ca2st_mm.checkpoints.sharing import build_model
from ca2st_mm.export import (
    FORMATS,
    Comparison,
    ExportableRecognizer,
    compare,
    describe,
    formats,
    graph,
    inputs_of,
    trace,
)
from ca2st_mm.utils.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
CAST, CAVA = 'cast/cast_ek100', 'cava/cava_vggsound'
CA2ST, ALONE = 'ca2st/ca2st_ek100', 'experts/ast_vggsound'
slow = pytest.mark.slow


def one_layer(node):
    """A shrunk model of a single layer."""
    if isinstance(node, (list, tuple)):
        return type(node)(one_layer(child) for child in node)
    if not isinstance(node, dict):
        return node
    known = {'num_layers': 1, 'start_layer': 0}
    return {k: known.get(k, one_layer(v)) for k, v in node.items()}


@functools.cache
def load(name):
    """A tiny model of a config with random weights, and the config."""
    config = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    values = without_init(config.model.to_dict())
    is_tiny = name.startswith('toy/')
    config.model = one_layer(values if is_tiny else shrink(values))
    model = build_model(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # the zeros of the start hide faults
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model, config


def names_of(model):
    return {
        task: [f'{task} {number}' for number in range(size)]
        for task, size in sizes_of(model.cls_head).items()
    }


@functools.cache
def traced(name, dtype=torch.float32):
    """The program of a tiny model, its inputs and the metadata."""
    model, config = load(name)
    inputs = inputs_of(model)
    module = ExportableRecognizer(model, inputs, dtype)
    about = describe(module, inputs, config, names_of(model))
    return trace(module, inputs), inputs, about


@functools.cache
def exported(name, form, folder):
    """A tiny model as a file."""
    program, _, about = traced(name)
    path = folder / f'{Path(name).name}{FORMATS[form].suffix}'
    FORMATS[form].write(program, path, about)
    return path


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('exported')


@pytest.mark.parametrize(
    'name, form',
    [
        (CAVA, None),  # the program before it is written
        (ALONE, 'torch_export'),
        (ALONE, 'onnx'),
        pytest.param(CA2ST, None, marks=slow),
        pytest.param(CA2ST, 'torch_export', marks=slow),
        pytest.param(CAST, 'torch_export', marks=slow),
        pytest.param(CAVA, 'torch_export', marks=slow),
        pytest.param(CAVA, 'onnx', marks=slow),
        pytest.param(CAST, 'onnx', marks=slow),
        pytest.param(CA2ST, 'onnx', marks=slow),
        pytest.param('toy/ca2st_toy', 'onnx', marks=slow),
    ],
)
def test_the_file_says_what_the_model_says(name, form, folder):
    program, inputs, _ = traced(name)
    if form is None:
        module = program.module()
        rows = list(compare(load(name)[0], lambda x: module(*x), inputs, (3,)))
    else:
        run = FORMATS[form].read(exported(name, form, folder), 'cpu')
        rows = list(compare(load(name)[0], run, inputs, (1, 3)))
    tasks = ['verb', 'noun'] if 'ek100' in name else ['logits']
    assert [row.output for row in rows if row.views == 3] == tasks
    for row in rows:
        assert row.passes(1e-4) and row.agreement == 1, row


@pytest.mark.parametrize('name', [ALONE, pytest.param(CA2ST, marks=slow)])
def test_half_precision_is_close_but_not_equal(name):
    program, inputs, _ = traced(name, torch.float16)
    module = program.module()
    for row in compare(load(name)[0], lambda x: module(*x), inputs, (3,)):
        assert row.passes(2e-2) and not row.passes(1e-7), row


def test_what_is_no_number_does_not_pass():
    assert not Comparison(1, 'logits', math.nan, 1.0).passes(math.inf)


def test_inputs_are_streams_times_and_presence():
    names = {
        name: [one.name for one in inputs_of(load(name)[0])]
        for name in (CAST, CA2ST, ALONE)
    }
    assert names[CAST] == ['imgs']
    assert names[CA2ST] == [
        *('imgs', 'audios', 'imgs_times', 'audios_times', 'audios_present')
    ]
    assert names[ALONE] == ['audios']


def metadata_of(path):
    """What a file says about itself."""
    if path.suffix == '.onnx':
        stored = onnx.load(path).metadata_props
        return {entry.key: json.loads(entry.value) for entry in stored}
    with zipfile.ZipFile(path) as archive:
        [name] = [n for n in archive.namelist() if 'metadata.json' in n]
        return json.loads(archive.read(name))


@pytest.mark.parametrize('form', FORMATS)
def test_the_file_says_what_it_takes_and_gives(form, folder):
    path, (*_, about) = exported(ALONE, form, folder), traced(ALONE)
    assert metadata_of(path) == about
    [audio] = [i for i in about['inputs'] if i['name'] == 'audios']
    assert audio['shape'] == ['views', 1, *SPEC]
    assert audio['normalised_inside']['mean'] == [pytest.approx(-4.2677393)]
    [logits] = about['outputs']
    assert logits['classes'][:2] == ['label 0', 'label 1']
    assert about['config']['name'] == f'{Path(ALONE).name}.py'
    assert about['weights']['checkpoint'] == 'random'


def test_views_are_those_of_the_test():
    model, config = load(CAST)
    inputs = inputs_of(model)
    module = ExportableRecognizer(model, inputs)
    about = describe(module, inputs, config, names_of(model))
    views = about['views']
    assert (views['clips'], views['crops']) == (2, 3)
    assert views['average'] == 'softmax, then mean'
    assert [len(o['classes']) for o in about['outputs']] == [97, 300]


WITHOUT_US = """
import sys, torch
program = torch.export.load(sys.argv[1]).module()
print(tuple(program(torch.zeros(4, 1, 96, 36))['logits'].shape))
assert not any(name.startswith(('ca2st_mm', 'mm')) for name in sys.modules)
"""


@slow  # imports PyTorch again
def test_the_file_runs_without_us(folder):
    path = exported(ALONE, 'torch_export', folder)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', WITHOUT_US, str(path)],
        capture_output=True,
        text=True,
    )
    classes = load(ALONE)[0].cls_head.num_classes
    assert done.stdout.strip() == f'(4, {classes})', done.stderr[-2000:]


def test_the_model_is_left_as_it_was():
    model, config = load(CA2ST)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ExportableRecognizer(model, inputs_of(model), torch.float16)
    after = model.state_dict()
    for key, value in before.items():
        assert after[key].dtype == value.dtype
        assert torch.equal(after[key], value)


def test_a_stream_that_the_pipeline_leaves_out_is_named():
    model, config = load('toy/ca2st_toy')
    config = Config(config.to_dict())
    config.test_dataloader.dataset.pipeline[-1].streams = ('imgs',)
    inputs = inputs_of(model)
    module = ExportableRecognizer(model, inputs)
    with pytest.raises(UsageError, match="reads.*'audios'.*PackAudioVisual"):
        describe(module, inputs, config, names_of(model))


def test_an_expert_that_does_not_say_its_input_is_named(monkeypatch):
    model, config = load(ALONE)
    monkeypatch.delattr(model.backbone, 'input_shape')
    with pytest.raises(UsageError, match='ASTExpert.*set self.input_shape'):
        inputs_of(model)


def test_a_head_that_averages_views_is_refused():
    model, config = load('experts/clip_image_k400')
    with pytest.raises(UsageError, match='TSNHead averages'):
        ExportableRecognizer(model, inputs_of(model))


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """Config of a model with one layer."""
    path = tmp_path_factory.mktemp('config') / 'ast_small.py'
    path.write_text(
        f'_base_ = {str(ROOT / "configs/toy/ast_toy.py")!r}\n'
        'model = dict(backbone=dict(arch=dict(num_layers=1)))'
    )
    return path


@pytest.fixture
def export(small):
    """Run the command line with options; its exit status."""

    def call(*options):
        return run_tool('export.py', small, 'random', *options)

    return call


def test_command_checks_and_says_how_far_it_is(
    export, tmp_path, monkeypatch, capsys
):
    out, form = tmp_path / 'ast.pt2', FORMATS['torch_export']
    options = ('--format', 'torch_export', '--out', out, '--check')
    assert export(*options, '--batches', 1, 4) == 0
    printed = capsys.readouterr().out
    assert 'equal within 0.0001' in printed and 'NOT' not in printed
    assert json.dumps(metadata_of(out)).count('ast_small.py') == 1
    read = form.read(out, 'cpu')

    def wrong(streams):
        return {name: score + 1e-2 for name, score in read(streams).items()}

    monkeypatch.setattr(form, 'read', lambda path, device: wrong)
    monkeypatch.setattr(form, 'write', lambda *args: None)
    assert export(*options) == 1
    printed = capsys.readouterr().out
    assert '1.00e-02' in printed and 'NOT EQUAL' in printed


def test_missing_packages_are_named(export, monkeypatch, capsys):
    monkeypatch.setattr(formats, 'find_spec', lambda name: None)
    assert export('--format', 'onnx') == 2
    assert 'pip install onnx onnxscript' in capsys.readouterr().err


@pytest.mark.parametrize(
    'options, message',
    [
        (('--out', 'a.pt2'), 'writes .onnx files'),
        (('--check', '--batches', '0'), 'at least 1'),
        (('--batches', '2'), 'of a --check'),
    ],
)
def test_wrong_options_are_named(export, options, message, capsys):
    assert export(*options) == 2
    assert message in capsys.readouterr().err


def test_a_preprocessor_of_another_kind_is_named():
    with pytest.raises(UsageError, match='Identity is not exported'):
        graph.Normalisation(torch.nn.Identity(), torch.float32)
