# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The benchmarks of models measure what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / 'tools/analysis'


@pytest.fixture(scope='module')
def tools():
    """Modules of the folder, which are scripts and no package."""
    sys.path.insert(0, str(TOOLS))
    try:
        import benchmark_growth
        import benchmark_models
        import measured_models

        yield measured_models, benchmark_models, benchmark_growth
    finally:
        sys.path.remove(str(TOOLS))


def test_steps_run_in_turn_after_a_warm_up(tools):
    order = []
    steps = {name: lambda name=name: order.append(name) for name in 'ab'}
    runs = tools[0].measure_in_turn(steps, repeats=2)
    assert order == ['a', 'b'] * 3
    assert {name: len(r) for name, r in runs.items()} == dict(a=2, b=2)
    assert all(set(run) == {'cpu_s', 'wall_s'} for run in runs['a'])


def test_a_train_step_leaves_gradients_and_a_forward_none(tools):
    model = torch.nn.Linear(2, 2)

    def call():
        return model(torch.ones(1, 2))

    tools[0].step_of(model, call, 'forward')()
    assert model.weight.grad is None
    tools[0].step_of(model, call, 'train')()
    first = model.weight.grad.clone()
    tools[0].step_of(model, call, 'train')()
    assert torch.equal(first, model.weight.grad)


def test_arithmetic_is_counted_with_attention(tools):
    q = torch.ones(1, 2, 50, 8)
    attention = torch.nn.functional.scaled_dot_product_attention
    found = tools[0].count_gmac(lambda: attention(q, q, q))
    assert found == pytest.approx(2 * 2 * 50 * 50 * 8 / 1e9)


def test_the_backward_pass_is_counted_too(tools):
    model = torch.nn.Linear(20, 30)
    x = torch.ones(5, 20, requires_grad=True)
    step = tools[0].step_of(model, lambda: model(x), 'train')
    # The layer, the gradient of its input and that of its weight.
    assert tools[0].count_gmac(step) == pytest.approx(3 * 5 * 20 * 30 / 1e9)


def test_a_subject_is_compared_run_by_run(tools):
    def timed(*seconds):
        return [dict(cpu_s=s, wall_s=s / 2) for s in seconds]

    # Another job came in the second run and slowed all three.
    runs = dict(cast=timed(3, 30, 3), a=timed(1, 10, 1), b=timed(1, 10, 1))
    found = tools[1].beside(runs, 'cast', ['a', 'b'], 'experts')
    assert found == dict(cpu_s_to_experts=1.5, wall_s_to_experts=1.5)


def test_the_baseline_is_compared_at_an_equal_rate(tools):
    row = dict(
        model='cast',
        mode='train',
        cpu_s=20.0,
        matmul_gmac_per_cpu_s=25.0,
        gmac_as_papers_count=200.0,
    )
    key = 'gmac_with_fused_attention_of_the_spatial_expert'
    theirs = dict(
        train=dict(cpu_s_median=40.0),
        train_second_measurement=dict(cpu_s_median=20.0),
        flops={key: 100.0},
    )
    found = tools[1].beside_baseline(row, dict(cast_base_single=theirs))
    # Half the time for twice the arithmetic.
    assert found['cpu_s_to_first_baseline'] == 0.25
    assert found['cpu_s_to_second_baseline'] == 0.5
    # Half as fast a machine: at the baseline's rate it is half the time.
    assert found['first_at_equal_matmul_rate'] == 0.125
    assert found['second_at_equal_matmul_rate'] == 0.25


def test_growth_is_drawn_at_one_rate(tools, tmp_path):
    rows = [
        dict(axis='frames', point='8', cpu_s=1.0, gmac=10.0),
        dict(axis='frames', point='16', cpu_s=4.0, gmac=20.0),
    ]
    for row, rate in zip(rows, (40.0, 20.0), strict=True):
        row['matmul_gmac_per_cpu_s'] = rate
    found = tools[2].at_equal_rate(rows)
    seconds = [row['cpu_s_at_mean_rate'] for row in found]
    assert seconds == pytest.approx([4 / 3, 8 / 3])
    tools[2].draw(found, tmp_path / 'cost.png')
    assert (tmp_path / 'cost.png').stat().st_size > 1000


@pytest.mark.parametrize('name', ['cast', 'cava', 'ca2st'])
def test_every_point_of_growth_is_a_known_change(tools, name, monkeypatch):
    built = []

    def get_model(_, backbone):
        built.append(backbone)
        raise StopIteration

    import ca2st_mm

    monkeypatch.setattr(ca2st_mm, 'get_model', get_model)
    for points in tools[2].GROWTH.values():
        for changes in points.values():
            if changes['name'] == name:
                with pytest.raises(StopIteration):
                    tools[0].ours(**changes)
    assert built


@pytest.mark.slow
@pytest.mark.parametrize(
    ('script', 'job'),
    [
        ('benchmark_memory', dict(mode='train', switch='recompute')),
        ('benchmark_models', dict(mode='forward', switch='plain', repeats=1)),
    ],
)
def test_a_measurement_runs(script, job):
    job = dict(job, subject='cava', batch=1)
    done = subprocess.run(
        [sys.executable, TOOLS / f'{script}.py', '--only', json.dumps(job)],
        capture_output=True,
        text=True,
        check=True,
    )
    row = json.loads(done.stdout.splitlines()[-1])
    assert row['model'] == 'cava' and row['mode'] == job['mode']
    assert all(v > 0 for v in row.values() if isinstance(v, float))
