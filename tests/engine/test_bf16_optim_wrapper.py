# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Mixed precision on the CPU: bf16 inside, float32 weights outside."""

import torch
from mmaction.registry import OPTIM_WRAPPERS
from torch import nn

import ca2st_mm  # noqa: F401


def make(model, **kwargs):
    return OPTIM_WRAPPERS.build(
        dict(
            type='BFloat16OptimWrapper',
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            **kwargs,
        )
    )


def test_forward_runs_in_bf16_and_weights_stay_float32():
    model = nn.Linear(4, 3)
    wrapper = make(model)
    with wrapper.optim_context(model):
        out = model(torch.randn(2, 4))
    assert out.dtype == torch.bfloat16
    assert model(torch.randn(2, 4)).dtype == torch.float32
    before = model.weight.detach().clone()
    wrapper.update_params(out.float().square().mean())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)


def test_accumulated_steps_equal_one_big_step():
    torch.manual_seed(0)
    data = torch.randn(4, 4)
    results = []
    for parts in (1, 2):
        torch.manual_seed(1)
        model = nn.Linear(4, 3)
        wrapper = make(model, accumulative_counts=parts)
        wrapper.initialize_count_status(model, 0, parts)
        for chunk in data.chunk(parts):
            with wrapper.optim_context(model):
                loss = model(chunk).float().square().mean()
            wrapper.update_params(loss)
        results.append(model.weight.detach())
    torch.testing.assert_close(results[0], results[1], atol=1e-2, rtol=0)
    torch.manual_seed(1)
    assert not torch.equal(results[0], nn.Linear(4, 3).weight)
