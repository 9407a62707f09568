# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""All streams and the label of a batch are blended with one lambda."""

from functools import partial

import pytest
import torch
from tiny_models import samples

from ca2st_mm.models.data_preprocessors import (
    MultiStreamBlending,
    ReferenceMultiStreamBlending,
    blending,
)
from ca2st_mm.structures import Stream

CLASSES = 5
BATCH = 4
BLENDINGS = (MultiStreamBlending, ReferenceMultiStreamBlending)


def streams(seed=0, batch=BATCH):
    generator = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=generator)
    return dict(
        imgs=Stream(randn(batch, 1, 3, 4, 20, 20), randn(batch, 1, 4)),
        audios=Stream(
            randn(batch, 1, 1, 30, 10),
            randn(batch, 1, 2),
            torch.ones(batch, 1),
        ),
    )


def constant_streams(batch=BATCH):
    """Clip i is i everywhere: a blend shows its lambda in every cell."""
    index = torch.arange(batch, dtype=torch.float32)
    return {
        name: Stream(
            index.view(-1, *[1] * (x.ndim - 1)).expand(x.shape).clone()
        )
        for name, (x, _, _) in streams(batch=batch).items()
    }


def labels_of(data_samples):
    return torch.stack([sample.gt_label for sample in data_samples])


def lambda_of(blended):
    """What clip 0 keeps in a batch of constants 0, 1, 2, 3."""
    return 1 - blended[0].mean().item() / (BATCH - 1)


@pytest.fixture
def drawn(monkeypatch):
    """Fix the draw of lambda."""

    def fix(lam):
        monkeypatch.setattr(
            torch.distributions.Beta,
            'sample',
            lambda self, *args: torch.tensor(lam),
        )

    return fix


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('cut', [(), ('audios',), ('imgs', 'audios')])
def test_one_lambda_for_all_streams_and_the_label(seed, cut):
    torch.manual_seed(seed)
    blend = MultiStreamBlending(CLASSES, cut=cut)
    inputs, data = blend(constant_streams(), samples(range(BATCH)))
    label = labels_of(data)[0]
    assert label.sum().item() == pytest.approx(1)
    lam = label[0].item()
    # partner of clip 0: the last one, in every stream
    assert label[BATCH - 1].item() == pytest.approx(1 - lam)
    for key in ('imgs', 'audios'):
        # a box has whole cells: half a cell at each of its sides
        slack = 1.5 / 10 if key in cut else 1e-6
        assert lambda_of(inputs[key].values) == pytest.approx(lam, abs=slack)


@pytest.mark.parametrize('seed', range(4))
def test_reference_mixes_frames_with_the_draw(drawn, seed):
    drawn(0.4)
    found = {}
    for cls in BLENDINGS:
        torch.manual_seed(seed)
        blend = cls(CLASSES, cut=['audios'])
        inputs, data = blend(constant_streams(), samples(range(BATCH)))
        found[cls] = inputs, labels_of(data)[0]
    (ours, label), (theirs, same) = (found[cls] for cls in BLENDINGS)
    assert torch.equal(label, same)
    assert torch.equal(ours['audios'].values, theirs['audios'].values)
    assert lambda_of(ours['imgs'].values) == pytest.approx(label[0].item())
    assert lambda_of(theirs['imgs'].values) == pytest.approx(0.4)
    assert label[0] >= 0.4 - 1e-6  # clipping leaves the clip more


@pytest.mark.parametrize('lam', [0.0, 0.2, 0.5, 0.8, 1.0])
def test_boxes(lam):
    torch.manual_seed(0)
    boxes = [blending.random_box(lam) for _ in range(200)]
    for box in boxes:
        assert 0 <= box.top <= box.bottom <= 1
        assert 0 <= box.left <= box.right <= 1
        assert box.area <= 1 - lam + 1e-6
    # those that no border clips have exactly the area
    if lam in (0.5, 0.8):
        whole = [b.area for b in boxes if min(b[0], b[2], 1 - b[1], 1 - b[3])]
        assert whole and whole == pytest.approx([1 - lam] * len(whole))


def test_times_stay_those_of_the_clip():
    inputs, _ = MultiStreamBlending(CLASSES)(streams(), samples([0] * BATCH))
    for name, stream in streams().items():
        assert torch.equal(inputs[name].times, stream.times)
    assert inputs['imgs'].present is None
    assert torch.equal(inputs['audios'].present, torch.ones(BATCH, 1))


@pytest.mark.parametrize('cut', [(), ('audios',)])
def test_who_has_audio_gives_it(cut):
    before = streams()
    # clips 0 and 3 are partners, and so are 1 and 2
    present = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    before['audios'] = before['audios']._replace(present=present)
    torch.manual_seed(1)
    after, data = MultiStreamBlending(CLASSES, cut=cut)(
        before, samples([0, 1, 2, 3])
    )
    assert after['audios'].present.flatten().tolist() == [1, 0, 0, 1]
    for clip in (0, 3):
        for part in ('values', 'times'):
            taken = getattr(after['audios'], part)[clip]
            assert torch.equal(taken, getattr(before['audios'], part)[0])
    assert torch.equal(after['imgs'].times, before['imgs'].times)
    assert 0 < labels_of(data)[0, 3] < 1


def test_verb_and_noun(drawn):
    drawn(0.75)
    blend = MultiStreamBlending(dict(verb=3, noun=4))
    labels = [torch.tensor(x) for x in ([0, 0], [1, 1], [2, 2], [2, 3])]
    _, data = blend(streams(), samples(labels))
    soft = labels_of(data)
    assert soft.shape == (BATCH, 7)
    torch.testing.assert_close(soft[:, :3].sum(1), torch.ones(BATCH))
    torch.testing.assert_close(soft[:, 3:].sum(1), torch.ones(BATCH))
    expected = torch.tensor([0.75, 0, 0.25, 0.75, 0, 0, 0.25])
    torch.testing.assert_close(soft[0], expected)


def test_probability():
    torch.manual_seed(0)
    blend = MultiStreamBlending(CLASSES, prob=0.25)
    untouched = 0
    for _ in range(400):
        data = samples([1, 2])
        inputs, _ = blend(dict(imgs=torch.ones(2, 1, 1, 1, 1, 1)), data)
        untouched += not data[0].gt_label.is_floating_point()
    assert untouched / 400 == pytest.approx(0.75, abs=0.06)


@pytest.mark.parametrize('label', [[5], [-1], [0, 1]])
def test_labels_that_do_not_fit(label):
    data = samples([torch.tensor(label)] * BATCH)
    with pytest.raises(ValueError, match=r'classes \[5\] of the blending'):
        MultiStreamBlending(CLASSES)(streams(), data)


@pytest.mark.parametrize('label', [[0.0, 1.0], [0.5, 0.5]])
def test_a_soft_label_of_other_classes_is_not_read_as_a_hard_one(label):
    data = samples([torch.tensor(label)] * BATCH)
    with pytest.raises(ValueError, match=r'does not fit the classes \[5, 7\]'):
        MultiStreamBlending(dict(verb=5, noun=7))(streams(), data)


def test_unknown_stream():
    with pytest.raises(KeyError, match='flows.*audios'):
        MultiStreamBlending(CLASSES, cut=['flows'])(
            streams(), samples([0] * BATCH)
        )


@pytest.mark.parametrize('cls', BLENDINGS)
def test_a_batch_of_one_meets_itself(cls):
    before = streams(batch=1)
    after, data = cls(CLASSES, cut=['audios'])(before, samples([2]))
    torch.testing.assert_close(after['imgs'].values, before['imgs'].values)
    assert data[0].gt_label.tolist() == pytest.approx([0, 0, 1, 0, 0])
