# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Features are what the classifier reads, at the times they say."""

import json
import shutil

import numpy as np
import pytest
import torch
from extract_features import clips_of, spans_of, write_features
from media_names import Media
from mmaction.models.heads import BaseHead
from safetensors import safe_open
from tool_runs import run_tool

from ca2st_mm.apis.features import extract
from ca2st_mm.apis.modality_contributions import contributions_of
from ca2st_mm.structures import Stream, as_streams


@pytest.fixture(scope='module')
def prepared(recognizers, clips):
    return [recognizers['ca2st'].prepare(clip) for clip in clips[:3]]


@pytest.fixture
def samples(prepared):
    return list(prepared)


def close(a, b):
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4)


def test_fused_feature_is_what_the_classifier_reads(
    recognizer, recognizers, samples, clip
):
    fused = torch.from_numpy(extract(recognizer, samples)['fused'])
    logits = recognizer.logits(samples)['label'].mean(1)
    with torch.no_grad():
        close(recognizer.model.cls_head.fc_cls(fused), logits)
    other = recognizers['verb_noun']
    sample = other.prepare(clip)
    found, head = extract(other, [sample]), other.model.cls_head
    for task, logits in other.logits([sample]).items():
        fused = torch.from_numpy(found[f'fused_{task}'])
        with torch.no_grad():
            close(getattr(head, f'fc_{task}')(fused), logits.mean(1))


@pytest.mark.parametrize('name', ['ca2st', 'alone'])
def test_tokens_of_the_last_layer_pool_to_the_feature(
    recognizers, clips, name
):
    recognizer = recognizers[name]
    samples = [recognizer.prepare(clip) for clip in clips[:2]]
    found = extract(recognizer, samples, layers=[1, 2])
    backbone = recognizer.model.backbone
    experts = dict(getattr(backbone, 'experts', {'expert': backbone}))
    for name, expert in experts.items():
        tokens = torch.from_numpy(found[f'{name}.layer2'])
        with torch.no_grad():
            pooled = expert.pool(tokens.flatten(0, 1))
        close(pooled.unflatten(0, (2, -1)).mean(1), found[name])
        assert not np.array_equal(tokens, found[f'{name}.layer1'])


def test_features_are_means_of_views_and_tokens_are_not(recognizer, samples):
    a, b = (as_streams(sample['inputs']) for sample in samples[:2])
    views = {
        name: Stream(*map(torch.cat, zip(a[name], b[name], strict=True)))
        for name in a
        if a[name].present is not None
    }
    views['imgs'] = Stream(
        torch.cat((a['imgs'].values, b['imgs'].values)),
        torch.cat((a['imgs'].times, b['imgs'].times)),
    )
    one, other = (extract(recognizer, [s], [1]) for s in samples[:2])
    found = extract(recognizer, [{**samples[0], 'inputs': views}], [1])
    for name, value in found.items():
        assert not np.allclose(one[name], other[name])
        if '.layer' in name:
            close(value, np.concatenate((one[name], other[name]), 1))
        else:
            close(value, (one[name] + other[name]) / 2)


def test_an_expert_without_input_is_not_a_number(recognizer, clip, silent):
    samples = [
        recognizer.prepare(path, missing_audio='drop')
        for path in (clip, silent, clip)
    ]
    found = extract(recognizer, samples, layers=[1])
    for name, value in found.items():
        lost = np.isnan(value).reshape(3, -1).all(1).tolist()
        assert lost == [False, name.startswith('audio'), False], name
    assert not np.isnan(found['fused']).any()
    with pytest.raises(ValueError, match=r'layers 1 to 2, got \[0\]'):
        extract(recognizer, samples, layers=[0, 2])


class OwnHead(BaseHead):
    """A head of somebody else that says what it fuses by one attribute."""

    def __init__(self, head):
        super().__init__(12, 16, average_clips='prob')
        self.fusion, self.fc = head.fusion, head.fc_cls

    def forward(self, feats, **kwargs):
        return self.fc(self.fusion(feats))


def test_a_head_of_somebody_else_has_features_and_contributions(
    recognizer, samples, monkeypatch
):
    model, sample = recognizer.model, samples[:1]
    fused = extract(recognizer, sample)['fused']
    changes = contributions_of(recognizer, sample)[0].changes()
    own = OwnHead(model.cls_head).eval()
    monkeypatch.setitem(model._modules, 'cls_head', own)
    close(extract(recognizer, sample)['fused'], fused)
    [found] = contributions_of(recognizer, sample)
    assert found.changes() == pytest.approx(changes, abs=1e-5)


def test_every_second_is_its_own_row(recognizer, clips, tmp_path):
    clip = Media(clips[0], 'a')
    list(write_features(recognizer, [clip], tmp_path, 'second', batch_size=1))
    stored = np.load(tmp_path / 'a.npz')
    assert len(stored['start']) == 2
    assert stored['start'].tolist() == [0, 1]
    assert stored['end'][0] == 1 and 1 < stored['end'][1] <= 2
    for row in range(2):
        span = stored['start'][row], stored['end'][row]
        alone = extract(recognizer, [recognizer.prepare(clips[0], *span)])
        close(stored['fused'][row], alone['fused'][0])
    assert stored['has_audio'].tolist() == [True, True]
    about = json.loads(str(stored['metadata']))
    assert about['source'] == clips[0]
    # No frame begins in the last 0.03 s, so they are no row.
    rows = spans_of(Media(clips[0], 'a', None, 0.0, 1.03), 'second')
    assert rows == [(0.0, 1.0)]


def test_safetensors_holds_the_same(recognizer, clips, tmp_path):
    for form in ('npz', 'safetensors'):
        clip = Media(clips[0], 'a', None, 0.25, 1.0)
        list(write_features(recognizer, [clip], tmp_path, form=form))
    expected = np.load(tmp_path / 'a.npz')
    with safe_open(tmp_path / 'a.safetensors', 'numpy') as stored:
        assert stored.metadata()['source'] == clips[0]
        assert {*stored.keys(), 'metadata'} == {*expected.files}
        for name in stored.keys():
            assert np.array_equal(stored.get_tensor(name), expected[name])
        assert stored.get_tensor('start').tolist() == [0.25]


def test_clips_of_an_annotation_file_have_files_of_their_own(tmp_path):
    path = tmp_path / 'list.csv'
    path.write_text(
        'file,audio,start,end,label,id\n'
        'a/b.mp4,b.wav,1.5,3,0,\n'
        'a/b.mp4,,3,,0,\n'
        'c.mp4,,,,0,x7\n'
    )
    (first, second, third), _ = clips_of([str(path)])
    video, audio = str(tmp_path / 'a/b.mp4'), str(tmp_path / 'b.wav')
    assert first == Media(video, 'a/b_1.5_3.0', audio, 1.5, 3.0)
    assert second == Media(video, 'a/b_3_end', None, 3.0, None)
    assert third == Media(str(tmp_path / 'c.mp4'), 'x7')


def test_clips_of_one_name_keep_apart(tmp_path):
    (tmp_path / 'empty').mkdir()
    for name in ('x/clip.mp4', 'x/clip.avi', 'x/other.mp4', 'clip.mkv'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, [failure] = clips_of([str(tmp_path), str(tmp_path / 'empty')])
    names = ['clip', 'x/clip.avi', 'x/clip.mp4', 'x/other']
    assert sorted(clip.name for clip in found) == names
    assert failure.source == str(tmp_path / 'empty')
    names = ['a/x.mp4', 'b/x.mp4', 'c.mp4', 'c.mp4']
    found, [failure] = clips_of(names)
    assert [c.path for c in found] == ['a/x.mp4', 'c.mp4']
    assert failure.source == 'b/x.mp4' and "'a/x.mp4'" in failure.reason
    listed = tmp_path / 'clips.txt'
    listed.write_text(f'{tmp_path}/x/clip.avi\n../up.mp4\n')
    found, _ = clips_of([str(listed)])
    names = [f'{tmp_path}/x/clip'.lstrip('/'), 'up']
    assert [clip.name for clip in found] == names  # below --out
    assert found[0].path == f'{tmp_path}/x/clip.avi'


def test_the_command_names_bad_files_and_continues(
    saved, clips, tmp_path, capsys
):
    def command(*arguments):
        model = ('extract_features.py', *saved['ca2st'])
        return run_tool(*model, *arguments, '--out', out), capsys.readouterr()

    bad, out = tmp_path / 'bad.mp4', tmp_path / 'out'
    bad.write_text('no video')
    status, printed = command(bad, clips[0], 'gone.mp4')
    assert status == 1
    assert '1 made, 0 there before, 2 failed' in printed.out
    assert str(bad) in printed.err and "'gone.mp4'" in printed.err
    shutil.copy(clips[1], bad)
    status, printed = command(bad, clips[0])
    assert status == 0 and '1 made, 1 there before' in printed.out
    folder = tmp_path / 'my clips/deep'
    folder.mkdir(parents=True)
    shutil.copy(clips[1], folder / 'Ä.MP4')
    status, printed = command(tmp_path / 'my clips')
    assert status == 0 and (out / 'deep/Ä.npz').is_file()
    # Another file of this name is not skipped; the same one may have moved.
    moved = tmp_path / 'moved'
    shutil.copytree(folder, moved)
    status, printed = command(moved.parent / 'moved/Ä.MP4')
    assert status == 0 and '1 made, 0 there' in printed.out
    shutil.copytree(moved, tmp_path / 'again/moved')
    status, printed = command(tmp_path / 'again/moved/Ä.MP4')
    assert status == 0 and '0 made, 1 there before' in printed.out
    shutil.copy(clips[0], moved / 'Ä.MP4')
    status, printed = command(moved.rename(tmp_path / 'other') / 'Ä.MP4')
    assert status == 1 and 'holds features of another file' in printed.err
    (out / 'bad.npz').write_bytes(b'')
    status, printed = command(bad, clips[0])
    assert status == 1 and "bad.npz' holds no features" in printed.err
    assert '0 made, 1 there before, 1 failed' in printed.out
    for flag, value in (('per', 'second'), ('precision', 'bfloat16')):
        status, printed = command(clips[1], f'--{flag}', value)
        assert status == 2 and f'features of another {flag}' in printed.err


@pytest.mark.parametrize(
    ('sources', 'said'),
    [
        (['c.py', 'm.pth', '--model', 'm.pth'], 'leave CONFIG CHECKPOINT out'),
        (['a.mp4'], 'or --model SOURCE'),
    ],
)
def test_a_model_is_named_once(capsys, sources, said):
    assert run_tool('extract_features.py', *sources, '--out', 'o') == 2
    assert said in capsys.readouterr().err
