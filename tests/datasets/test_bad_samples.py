# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Bad samples: skipped, substituted, counted, never hidden."""

import csv
import pickle

import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.dataset import DefaultSampler, RepeatDataset, pseudo_collate
from torch.utils.data import DataLoader

from ca2st_mm.datasets import AudioVisualDataset
from ca2st_mm.datasets.bad_samples import Quarantine, TooManyBadSamples
from ca2st_mm.datasets.faults import EmptyClipError, MediaError, NoAudioError
from ca2st_mm.evaluation import ReadableClips
from ca2st_mm.structures import Stream

SIZE = 40
BAD = {3, 4, 17}
ACCURACY = dict(type='AccMetric', metric_list=('top_k_accuracy',))


class Load:
    """Clips named by number; those in ``bad`` cannot be read."""

    def __init__(self, bad):
        self.bad = bad

    def __call__(self, results):
        number = int(results['filename'].split('.')[0])
        if number in self.bad:
            raise MediaError('video', results['filename'], 'it is torn')
        sample = ActionDataSample()
        if 'label' in results:
            sample.set_gt_label(results['label'])
        sample.set_metainfo(
            dict(filename=results['filename'], clip_id=results['clip_id'])
        )
        return dict(
            inputs=dict(
                imgs=torch.full((1, 2), number + 1.0),
                audios=Stream(torch.ones(1, 3), present=torch.ones(1)),
            ),
            data_samples=sample,
        )


def make(folder, bad=BAD, fraction=0.5, **kwargs):
    if not (folder / 'list.csv').exists():
        rows = ''.join(f'{i}.mp4,{i % 7}\n' for i in range(SIZE))
        (folder / 'list.csv').write_text('file,label\n' + rows)
    kwargs = dict(on_error='skip', serialize_data=False) | kwargs
    return AudioVisualDataset(
        str(folder / 'list.csv'),
        [Load(bad)],
        quarantine=str(folder / 'out' / 'bad.csv'),
        max_bad_fraction=fraction,
        **kwargs,
    )


def batches(data, workers=0, batch_size=4, **kwargs):
    loader = DataLoader(
        data,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=pseudo_collate,
        **kwargs,
    )
    found = iter(loader)
    try:
        return list(found)
    finally:
        # pytest keeps the frames of an exception, and so the workers
        getattr(found, '_shutdown_workers', list)()


def names(batch):
    return [sample.filename for sample in batch['data_samples']]


def lines(folder):
    with open(folder / 'out' / 'bad.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_what_stops_a_run(tmp_path):
    with pytest.raises(MediaError, match='3.mp4'):
        batches(make(tmp_path, on_error='raise'))
    data = make(tmp_path, bad=set(range(SIZE)), fraction=1.0)
    with pytest.raises(MediaError):  # there is no substitute
        data[0]
    data = make(tmp_path)  # a mistake of ours is no bad sample
    data.pipeline.transforms.append(lambda results: results['no such key'])
    with pytest.raises(KeyError, match='no such key'):
        batches(data)


@pytest.mark.parametrize('workers', [0, 2])
def test_skip_leaves_out_the_bad_alone(tmp_path, workers):
    seen = batches(make(tmp_path), workers)
    assert len(seen) == SIZE // 4
    flat = [name for batch in seen for name in names(batch)]
    assert flat == [f'{i}.mp4' for i in range(SIZE) if i not in BAD]
    assert [len(names(batch)) for batch in seen][:2] == [3, 3]
    data = make(tmp_path, bad=set(range(8, 12)))
    seen = batches(data, workers)  # a wholly bad batch is still a batch
    assert [len(names(batch)) for batch in seen] == [4, 4, 1] + [4] * 7
    wrapped = RepeatDataset(make(tmp_path), times=2)
    assert len(batches(wrapped, workers)) == 2 * SIZE // 4


def test_the_substitute_does_not_depend_on_the_worker(tmp_path):
    data = make(tmp_path, on_error='substitute')
    few = [names(batch) for batch in batches(data, 0)]
    many = [names(batch) for batch in batches(data, 3)]
    assert few == many
    flat = [name for batch in few for name in batch]
    changed = {i for i, name in enumerate(flat) if name != f'{i}.mp4'}
    assert changed == BAD
    assert not {f'{i}.mp4' for i in BAD} & set(flat)
    assert len({flat[i] for i in BAD}) == len(BAD)


@pytest.mark.parametrize('workers', [0, 2])
def test_the_list_names_path_reason_and_count(tmp_path, workers):
    data = make(tmp_path)
    for _ in range(2):
        batches(data, workers)
    rows = lines(tmp_path)
    assert sorted(row['path'] for row in rows) == sorted(
        f'{i}.mp4' for i in BAD
    )
    for row in rows:
        assert row['count'] == '2'
        assert row['reason'] == 'video: it is torn'


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('on_error', ['skip', 'substitute'])
def test_beyond_the_cap_the_run_stops(tmp_path, workers, on_error):
    data = make(tmp_path, fraction=3 / SIZE)
    # Another set in the same list does not count.
    other = Quarantine(data.quarantine.path, 'other.csv', 1.0)
    for number in range(9):
        other.add(dict(filename=f'{number}.mp4'), 'torn', 9)
    assert len(batches(data)) == SIZE // 4
    data = make(tmp_path, fraction=2 / SIZE, on_error=on_error)
    with pytest.raises(TooManyBadSamples) as stop:
        batches(data, workers)
    assert '3 of 40 samples' in str(stop.value)
    assert '3 x video: it is torn' in str(stop.value)
    assert 'bad.csv' in str(stop.value)


@pytest.mark.parametrize('junk', ['\n', '\nlist.csv,9.m'])
def test_lines_that_are_no_entries_do_no_harm(tmp_path, junk):
    (tmp_path / 'out').mkdir()
    path = tmp_path / 'out' / 'bad.csv'
    listed = Quarantine(str(path), 'list.csv', 1.0)
    listed.add(dict(filename='0.mp4'), 'torn', 9)
    path.write_text(path.read_text() + junk)
    listed.add(dict(filename='0.mp4'), 'torn', 9)
    listed.add(dict(filename='1.mp4'), 'torn', 9)
    found = {row['path']: row['count'] for row in lines(tmp_path)}
    assert found == {'0.mp4': '2', '1.mp4': '1'}
    path.write_text('')  # the samples were repaired
    listed.add(dict(filename='1.mp4'), 'torn', 9)
    assert [row['count'] for row in lines(tmp_path)] == ['1']


def test_evaluation_marks_what_it_cannot_read(tmp_path):
    data = make(tmp_path, test_mode=True)
    seen = batches(data, 2)
    flat = [sample for batch in seen for sample in batch['data_samples']]
    assert [s.filename for s in flat] == [f'{i}.mp4' for i in range(SIZE)]
    assert [s.gt_label.item() for s in flat] == [i % 7 for i in range(SIZE)]
    marked = {i for i, s in enumerate(flat) if s.get('unreadable')}
    assert marked == BAD
    inputs = [x for batch in seen for x in batch['inputs']['imgs']]
    assert {i for i, x in enumerate(inputs) if not x.any()} == BAD
    audios = data[3]['inputs']['audios']
    assert not audios.values.any() and not audios.present.any()
    assert audios.times is None


def predict(metric, seen):
    """Right for every readable clip, wrong for the others."""
    for batch in seen:
        for sample in batch['data_samples']:
            right = sample.gt_label.item()
            guess = (right + 1) % 7 if sample.get('unreadable') else right
            sample.set_pred_score(torch.eye(7)[guess])
        metric.process(None, [s.to_dict() for s in batch['data_samples']])


def test_the_metric_states_used_of_expected(tmp_path):
    metric = ReadableClips(ACCURACY)
    predict(metric, batches(make(tmp_path, test_mode=True)))
    numbers = metric.evaluate(SIZE)
    assert numbers['acc/top1'] == 1
    assert numbers['acc/num_used'] == SIZE - len(BAD)
    assert numbers['acc/num_expected'] == SIZE
    with pytest.raises(ValueError, match='None of the'):
        metric.compute_metrics([[], []])


@pytest.mark.parametrize(
    ('kwargs', 'words'),
    [
        (dict(on_error='ignore'), 'raise'),
        (dict(on_error='substitute', test_mode=True), 'twice'),
        (dict(fraction=2.0), 'share'),
    ],
)
def test_bad_choices(tmp_path, kwargs, words):
    with pytest.raises(ValueError, match=words):
        make(tmp_path, **kwargs)
    with pytest.raises(ValueError, match='needs quarantine'):
        AudioVisualDataset('x.csv', [], on_error='skip', lazy_init=True)


@pytest.mark.parametrize(
    'fault',
    [
        MediaError('video', 'a.mp4', 'torn'),
        EmptyClipError('a.mp4 is empty', 'empty'),
        NoAudioError('a.mp4 is mute', 'mute'),
    ],
)
def test_faults_cross_processes(fault):
    copy = pickle.loads(pickle.dumps(fault))
    assert type(copy) is type(fault)
    assert (str(copy), copy.reason) == (str(fault), fault.reason)


def test_two_processes_stay_in_step(tmp_path):
    """As many batches each, though all the bad samples are of one of them.

    ``tests/engine/test_two_processes.py`` evaluates in two processes.
    """
    data = make(tmp_path, bad={0, 2, 4, 6, 8, 20})
    for rank in range(2):
        sampler = DefaultSampler(data, shuffle=False)
        sampler.rank, sampler.world_size = rank, 2
        sampler.num_samples = SIZE // 2
        seen = batches(data, rank, sampler=sampler)
        assert len(seen) == SIZE // 8
        lengths = [len(names(batch)) for batch in seen]
        # One sample stands in for a batch without a good one.
        assert lengths == ([1, 3, 3, 4, 4] if rank == 0 else [4] * 5)


@pytest.mark.parametrize('column', [',label', ''])
def test_a_marked_clip_keeps_its_own_identity(tmp_path, column):
    """Its substitute lends shapes alone; a test set may have no labels."""
    rows = ''.join(
        f'{i}.mp4,clip{i}' + (f',{i}\n' if column else '\n') for i in range(4)
    )
    (tmp_path / 'list.csv').write_text(f'file,id{column}\n{rows}')
    data = make(tmp_path, bad={2}, test_mode=True)
    element = data[2]['data_samples']
    assert (element.clip_id, element.filename) == ('clip2', '2.mp4')
    assert element.unreadable
    assert ('gt_label' in element) == bool(column)
    if column:
        assert element.gt_label.item() == 2
    assert 'unreadable' not in data[1]['data_samples']
