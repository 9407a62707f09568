# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Views become rows of the batch, in chunks where the memory is small."""

import math

import pytest
import tiny_models as tiny
import torch
from mmengine.runner import load_checkpoint

from ca2st_mm.utils.errors import UsageError

CLASSES, CLIPS, VIEWS = 5, 2, 3
BACKBONE = dict(tiny.CA2ST, missing_inputs='drop')
HEAD = dict(
    type='FusionHead',
    num_classes=CLASSES,
    in_channels=dict.fromkeys(tiny.CA2ST['experts'], tiny.DIMS),
)


def recognizer(how='prob', backbone=BACKBONE, **changes):
    head = dict(HEAD, average_clips=how)
    return tiny.recognizer(backbone, head, **changes)


def views_of(clips=CLIPS, views=VIEWS):
    """Streams (B, views, ...); one view has no audio."""
    present = torch.ones(clips * views)
    present[1] = 0
    return {
        name: stream.map(lambda part: part.unflatten(0, (clips, views)))
        for name, stream in tiny.timed(clips * views, present).items()
    }


def predictions(model, inputs):
    samples = tiny.samples(list(range(CLIPS)))
    with torch.no_grad():
        samples = model(inputs, samples, mode='predict')
    return torch.stack([sample.pred_score for sample in samples])


def batch_sizes(model):
    """Sizes of the batches that reach the backbone from now on."""
    sizes = []
    model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs['imgs'].values)),
        with_kwargs=True,
    )
    return sizes


@pytest.mark.parametrize('how', ['prob', 'score', None])
def test_predicts_what_a_loop_over_clips_and_views_does(how):
    model, inputs = recognizer(how), views_of()
    found = predictions(model, inputs)
    for clip in range(CLIPS):
        rows = []
        for view in range(VIEWS):
            one = {
                name: stream.map(lambda x, at=(clip, view): x[at][None])
                for name, stream in inputs.items()
            }
            with torch.no_grad():
                logits = model.cls_head(model.backbone(**one))[0]
            rows.append(logits.softmax(-1) if how == 'prob' else logits)
        expected = torch.stack(rows) if how is None else sum(rows) / VIEWS
        torch.testing.assert_close(found[clip], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('limit', [None, 1, 2, 4, 6, 7])
def test_chunks_bound_the_batch_and_change_no_score(limit):
    inputs = views_of()
    expected = predictions(recognizer(), inputs)
    model = recognizer(test_cfg=dict(max_testing_views=limit))
    sizes = batch_sizes(model)
    found = predictions(model, inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    total = CLIPS * VIEWS
    limit = limit or total
    assert len(sizes) == math.ceil(total / limit)
    assert max(sizes) == min(limit, total) and sum(sizes) == total


def test_training_is_not_chunked():
    model = recognizer(test_cfg=dict(max_testing_views=1))
    sizes = batch_sizes(model)
    losses = model(
        views_of(views=1), tiny.samples(list(range(CLIPS))), mode='loss'
    )
    assert sizes == [CLIPS] and torch.isfinite(losses['loss_cls'])


@pytest.mark.parametrize(
    'name, cut',
    [('audios', (slice(None), slice(2))), ('imgs', (slice(1),))],
)
def test_streams_with_other_clips_or_views_raise_by_name(name, cut):
    inputs = views_of()
    inputs[name] = inputs[name].map(lambda part: part[cut])
    shape = tuple(inputs[name].values.shape[:2])
    with pytest.raises(ValueError) as caught:
        recognizer().extract_feat(inputs)
    assert f"('{name}', 'values'): {shape}" in str(caught.value)


@pytest.mark.parametrize('limit', [0, -2, 'all', 0.5])
def test_what_is_no_number_of_views_is_refused(limit):
    with pytest.raises(UsageError, match=f'max_testing_views.*{limit}'):
        recognizer(test_cfg=dict(max_testing_views=limit))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    # MMEngine would warn and go on with random weights.
    model, path = recognizer(), tmp_path / 'other.pth'
    torch.save({'state_dict': {'a.b': torch.ones(1)}}, path)
    with pytest.raises(ValueError, match="none of the 1 tensors.*'a.b'"):
        load_checkpoint(model, str(path))
    with pytest.raises(ValueError, match='none of the 1 tensors'):
        model.load_state_dict({'a.b': torch.ones(1)}, strict=False)


def test_the_head_names_experts_of_the_backbone():
    head = dict(HEAD, in_channels=dict(spatial=16, temperal=16))
    with pytest.raises(ValueError, match=r"names \['temperal'\].*temporal"):
        tiny.recognizer(tiny.CAST, head)
