# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The backbone is one graph for torch.compile."""

import pytest
import torch
from tiny_models import (
    CA2ST,
    CAST,
    SPACE_AUDIO,
    SPACE_TIME,
    TIME_AUDIO,
    build,
    difference,
    randomize,
    streams,
    times,
)

TIMED = dict(
    CA2ST,
    links=[
        SPACE_TIME,
        dict(SPACE_AUDIO, position='timestamp', start_layer=1),
        dict(TIME_AUDIO, position='timestamp', start_layer=1),
    ],
    share_bottlenecks=True,
    time_encoders=dict(imgs=dict(embed_dims=8), audios=dict(embed_dims=8)),
)


def check(backbone, inputs, backend):
    torch._dynamo.reset()
    compiled = torch.compile(backbone, fullgraph=True, backend=backend)
    expected, feats = backbone(**inputs), compiled(**inputs)
    assert set(feats) == set(expected)
    for name, value in expected.items():
        assert difference(feats[name], value) < 1e-5


@pytest.mark.parametrize('exchange', ['sequential', 'additive'])
def test_compiled_equals_eager(exchange):
    backbone = randomize(build(TIMED, exchange=exchange))
    present = dict(audios_present=torch.tensor([1.0, 0.0, 1.0]))
    check(backbone, {**streams(), **times(), **present}, 'eager')


def test_compiled_through_autograd_equals_eager():
    check(randomize(build(CAST)), dict(imgs=streams()['imgs']), 'aot_eager')
