# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The command lines for training and testing do what their flags say."""

import math
import time
from types import SimpleNamespace

import pytest
import torch
from tool_runs import (
    BATCH,
    CLIPS,
    RATE,
    ROOT,
    STEPS,
    losses_of,
    metrics_of,
    read_dump,
    run_tool,
    same_weights,
    toy_config,
    verb_noun_config,
    weights_of,
    write_data,
)

from ca2st_mm.engine import launch


def run_in(folder, tool, *arguments, options=()):
    """Run a tool with a work folder, which it returns; it must succeed."""
    # Runs of one process and second would share their loggers otherwise.
    name = f'experiment_name={time.monotonic_ns()}'
    place = ('--work-dir', folder, '--cfg-options', name, *options)
    assert run_tool(tool, *arguments, *place) == 0
    return folder


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    """Config files by head."""
    folder = tmp_path_factory.mktemp('tools')
    write_data(folder / 'data')
    makers = dict(classes=toy_config, verb_noun=verb_noun_config)
    for name, make in makers.items():
        make(folder / 'data').dump(folder / f'{name}.py')
    return {name: folder / f'{name}.py' for name in makers}


@pytest.fixture(scope='module')
def train(configs, tmp_path_factory):
    """Train with some flags, by default in a new folder; returns it."""

    def run(*flags, head='classes', folder=None, options=()):
        folder = folder or tmp_path_factory.mktemp('run')
        path = configs[head]
        return run_in(folder, 'train.py', path, *flags, options=options)

    return run


@pytest.fixture(scope='module')
def trained(train):
    """The folder of one epoch with seed 3."""
    return train('--seed', 3)


def test_training_leaves_checkpoints_losses_and_events(trained):
    names = {path.name for path in trained.glob('*.pth')}
    assert names == {'epoch_1.pth', 'best_acc_top1_epoch_1.pth'}
    assert (trained / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    [events] = trained.glob('*/vis_data/events.out.tfevents.*')
    assert events.stat().st_size > 0
    losses = losses_of(trained)
    assert losses and all(map(math.isfinite, losses))


def test_resume_trains_only_what_is_left(train, tmp_path):
    first, second = tmp_path / 'epoch_1.pth', tmp_path / 'epoch_2.pth'
    train('--no-validate', folder=tmp_path)
    written = weights_of(first)
    train('--resume', folder=tmp_path, options=['train_cfg.max_epochs=2'])
    now = weights_of(first)  # it may get the score of a late validation
    assert all(torch.equal(now[name], written[name]) for name in written)
    state = torch.load(second, weights_only=False)
    assert (state['meta']['epoch'], state['meta']['iter']) == (2, 2 * STEPS)
    moments = state['optimizer']['state'].values()
    assert {float(moment['step']) for moment in moments} == {2.0 * STEPS}
    assert not same_weights(first, second)


def test_a_seed_repeats_a_run_and_another_does_not(trained, train):
    again = train('--seed', 3, '--no-validate')
    # Without validation there is no best checkpoint.
    assert [path.name for path in again.glob('*.pth')] == ['epoch_1.pth']
    assert same_weights(trained / 'epoch_1.pth', again / 'epoch_1.pth')
    other = train('--seed', 4, '--no-validate')
    assert not same_weights(trained / 'epoch_1.pth', other / 'epoch_1.pth')


def test_auto_scale_lr_follows_the_batch_size(train):
    """Twice our batch size is the base, so the learning rate is halved."""
    base = f'auto_scale_lr.base_batch_size={2 * BATCH}'
    folder = train('--auto-scale-lr', '--no-validate', options=[base])
    state = torch.load(folder / 'epoch_1.pth', weights_only=False)
    groups = state['optimizer']['param_groups']
    assert {group['initial_lr'] for group in groups} == {RATE / 2}


BASE = 'auto_scale_lr.base_batch_size=8'
HOOK = 'default_hooks.linear_scaling.type=LinearScalingHook'


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ([], 'auto_scale_lr=dict(base_batch_size=N)'),
        (['--cfg-options', BASE, HOOK], 'leave --auto-scale-lr out'),
        (['--target-batch', 2 * BATCH, '--cfg-options', BASE], 'batches'),
    ],
)
def test_auto_scale_lr_is_refused_where_it_is_wrong(
    configs, tmp_path, capsys, flags, words
):
    flags = ['--auto-scale-lr', '--work-dir', tmp_path / 'work', *flags]
    assert run_tool('train.py', configs['classes'], *flags) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_processes_that_would_run_alone_are_refused(
    configs, tmp_path, capsys, monkeypatch, tool
):
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    monkeypatch.setenv('WORLD_SIZE', '2')
    names = [configs['classes'], *(['x.pth'] if tool == 'test.py' else [])]
    assert run_tool(tool, *names, '--work-dir', tmp_path / 'work') == 2
    assert 'add --launcher pytorch' in capsys.readouterr().err


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_a_launcher_that_started_nothing_is_refused(
    configs, tmp_path, capsys, monkeypatch, launcher
):
    for name in ('WORLD_SIZE', 'RANK', 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
    flags = [configs['classes'], '--work-dir', tmp_path / 'work']
    assert run_tool('train.py', *flags, '--launcher', launcher) == 2
    assert f'--launcher {launcher} is for' in capsys.readouterr().err


@pytest.mark.parametrize('below', ['', '/run'])
def test_a_work_folder_that_is_a_file_is_one_sentence(
    configs, tmp_path, capsys, below
):
    path = tmp_path / 'file'
    path.touch()
    assert (
        run_tool(
            'train.py', configs['classes'], '--work-dir', f'{path}{below}'
        )
        == 2
    )
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_processes_part_when_all_is_done(
    configs, trained, tmp_path, monkeypatch, tool
):
    done = []
    runner = SimpleNamespace(
        train=lambda: done.append('train.py'),
        test=lambda: done.append('test.py'),
        register_hook=lambda hook: None,
    )
    monkeypatch.setattr(launch, 'build_runner', lambda *_, **__: runner)
    monkeypatch.setattr(
        launch, 'leave_process_group', lambda: done.append('left')
    )
    names = [
        configs['classes'],
        *([trained / 'epoch_1.pth'] if tool == 'test.py' else []),
    ]
    assert run_tool(tool, *names, '--work-dir', tmp_path / 'work') == 0
    assert done == [tool, 'left']


def test_testing_dumps_every_clip_and_draws_some(configs, trained, tmp_path):
    dump, drawn = tmp_path / 'scores.pkl', tmp_path / 'drawn'
    best = trained / 'best_acc_top1_epoch_1.pth'
    arguments = (configs['classes'], best, '--dump', dump)
    arguments = (*arguments, '--show-dir', drawn, '--interval', 6)
    metrics = metrics_of(run_in(tmp_path / 'work', 'test.py', *arguments))
    samples = read_dump(dump)
    assert len(samples) == CLIPS
    hits = [int(s['pred_score'].argmax()) == s['gt_label'] for s in samples]
    assert metrics['acc/top1'] == pytest.approx(sum(hits) / CLIPS)
    # each class occurs once, and scores are probabilities
    assert {int(s['gt_label']) for s in samples} == set(range(CLIPS))
    for sample in samples:
        assert float(sample['pred_score'].sum()) == pytest.approx(1, abs=1e-5)
    assert len(list(drawn.iterdir())) == CLIPS / 6


def test_testing_verbs_and_nouns(configs, train, tmp_path):
    dump = tmp_path / 'scores.pkl'
    folder = train('--amp', head='verb_noun')
    checkpoint = folder / 'epoch_1.pth'
    weights = weights_of(checkpoint).values()
    assert {w.dtype for w in weights} == {torch.float32}
    arguments = (configs['verb_noun'], checkpoint, '--dump', dump)
    metrics = metrics_of(run_in(tmp_path / 'work', 'test.py', *arguments))
    samples = read_dump(dump)
    assert len(samples) == metrics['acc/num_clips'] == CLIPS
    hits = [
        [
            int(sample[f'pred_{task}_score'].argmax()) == int(label)
            for task, label in zip(
                ('verb', 'noun'), sample['gt_label'], strict=True
            )
        ]
        for sample in samples
    ]
    found = {
        'verb': sum(verb for verb, _ in hits),
        'noun': sum(noun for _, noun in hits),
        'action': sum(verb and noun for verb, noun in hits),
    }
    for name, count in found.items():
        expected = pytest.approx(count / CLIPS)
        assert metrics[f'acc/{name}_top1'] == expected


def test_dump_must_be_a_pickle(configs, trained, tmp_path, capsys):
    arguments = (trained / 'epoch_1.pth', '--dump', tmp_path / 'scores.csv')
    assert run_tool('test.py', configs['classes'], *arguments) == 2
    assert 'must end in .pkl' in capsys.readouterr().err


WITH_A_MODEL = [
    ('extract_features.py', ['c.mp4', '--out', 'out']),
    ('export.py', ['--format', 'torch_export']),
    ('analysis/modality_report.py', []),
    ('visualize/attention.py', ['c.mp4']),
]


@pytest.mark.parametrize(('tool', 'sources'), WITH_A_MODEL)
def test_a_device_that_cannot_be_used_is_one_sentence(
    configs, trained, capsys, tool, sources
):
    names = (configs['classes'], trained / 'epoch_1.pth', *sources)
    assert run_tool(tool, *names, '--device', 'gpu') == 2
    assert 'error: the device gpu cannot' in capsys.readouterr().err


@pytest.mark.parametrize(('tool', 'sources'), WITH_A_MODEL)
def test_a_checkpoint_of_another_model_is_one_sentence(
    configs, trained, tmp_path, capsys, tool, sources
):
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(2))), other)
    assert run_tool(tool, configs['classes'], other, *sources) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('error: ') and 'other.pth' in error


WRONG = {  # by file name: its text, and words of the sentence
    'colon.py': ('a = 1\nmodel = dict(a=1\nb: = 2\n', 'colon.py, line 2'),
    'base.py': ("_base_ = 'gone.py'\n", 'gone.py is not there'),
    'ours.py': ("_base_ = 'ca2st_mm::cast/gone.py'\n", 'cast/gone.py is not'),
    'other.py': ("_base_ = 'gonepackage::a/b.py'\n", 'gonepackage'),
    'wrong_base.py': ("_base_ = 'colon.py'\n", 'colon.py, line 2'),
    'table.csv': ('file,label\n', 'table.csv: OSError, Only py'),
    'empty.py': ('seed = 1\n', 'empty.py has no model'),
    'broken.yml': ('model:\n  a: [1\nb: 2\n', 'broken.yml, line 3'),
    'list.yml': ('- 1\n', 'list.yml'),
    'custom.py': (
        "model = dict(a=1)\ncustom_imports = dict(imports=['gonemodule'])\n",
        'Failed to import gonemodule',
    ),
    'lazy.py': (
        'from gonemodule import A\nmodel = dict(type=A)\n',
        'gonemodule',
    ),
    'raises.py': ("model = dict()\nmodel['a']\n", 'raises.py, line 2: Key'),
}
FLAGS = {
    'train.py': '{} --cfg-options {}',
    'test.py': '{} a.pth --cfg-options {}',
    'predict.py': '. --config {} --checkpoint a.pth --cfg-options {}',
    'analysis/print_config.py': '{} --cfg-options {}',
    'analysis/robustness.py': '{} a.pth --cfg-options {}',
}
# Tools without --cfg-options.
PLAIN = {
    'extract_features.py': '{} a.pth a.mp4 --out out',
    'export.py': '{} random',
    'demo_web.py': '{} a.pth --port 0',
    'analysis/benchmark_data.py': '{}',
    'analysis/benchmark_gpu.py': '{} --device cpu',
    'analysis/get_flops.py': '{}',
    'publish_model.py': 'a.pth out --config {}',
    'data/check.py': '{}',
    'data/from_folders.py': '{folder} --base {}',
    'visualize/attention.py': '{} a.pth a.mp4',
}


@pytest.mark.parametrize(
    ('tool', 'name'),
    [
        *(('train.py', name) for name in WRONG),
        *((tool, 'wrong_base.py') for tool in FLAGS | PLAIN),
        *((tool, name) for tool in FLAGS for name in ('equals', 'bracket')),
    ],
)
def test_a_wrong_config_is_one_sentence(tool, name, tmp_path, capsys):
    for file, (text, _) in WRONG.items():
        (tmp_path / file).write_text(text)
    for folder in ('a', 'b'):  # for from_folders.py
        (tmp_path / 'clips' / folder).mkdir(parents=True)
        (tmp_path / 'clips' / folder / 'a.mp4').touch()
    file, option, says = tmp_path / name, 'seed=1', WRONG.get(name, '  ')[1]
    if name in ('equals', 'bracket'):
        file, says = tmp_path / 'empty.py', 'write KEY=VALUE'
        option = 'seed' if name == 'equals' else 'seed=(1,['
    flags = (FLAGS | PLAIN)[tool].format(
        file, option, folder=tmp_path / 'clips'
    )
    assert run_tool(tool, *flags.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1, error
    assert says in error, error


def test_ctrl_c_is_one_line_in_every_tool(capsys):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        launch.run_or_explain(stop)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == 'stopped by Ctrl-C\n'
    # These import no more than they need.
    others = 'doctor.py weights.py convert_checkpoint.py prepare.py'.split()
    for path in (ROOT / 'tools').rglob('*.py'):
        if "if __name__ == '__main__'" in path.read_text():
            assert path.name in others or 'run_or_explain(' in path.read_text()
