# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""MTEB runs a model on a local task of its own."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from ca2st_mm.apis.features import extract
from ca2st_mm.apis.mteb_encoder import MTEBEncoder
from ca2st_mm.datasets.audio import read_audio

mteb = pytest.importorskip('mteb', reason='needs pip install "mteb[video]"')
datasets = pytest.importorskip('datasets')
tasks = pytest.importorskip('mteb.abstasks')


class Decoder:
    """What MTEB gives, torchcodec's decoder, without FFmpeg's libraries."""

    def __init__(self, path):
        with av.open(path) as file:
            frames = list(file.decode(video=0))
            rate = float(file.streams.video[0].average_rate)
        self.pixels = torch.stack(
            [torch.from_numpy(f.to_ndarray(format='rgb24')) for f in frames]
        ).permute(0, 3, 1, 2)
        self.times = torch.tensor([f.time for f in frames])
        self.metadata = SimpleNamespace(
            num_frames=len(frames), average_fps=rate
        )

    def get_frames_at(self, indices):
        return SimpleNamespace(
            data=self.pixels[indices], pts_seconds=self.times[indices]
        )


def rows_of(batch):
    """The columns of a batch of paths, decoded as MTEB's data sets do."""
    rows = dict(batch)
    if 'video' in batch:
        rows['video'] = [Decoder(path) for path in batch['video']]
    if 'audio' in batch:
        tracks = [read_audio(path) for path in batch['audio']]
        rows['audio'] = [
            dict(array=t.waveform, sampling_rate=t.sample_rate) for t in tracks
        ]
    return rows


def task_of(clips, labels, modalities):
    """A classification of local clips, each in both splits."""

    class ToyClassification(tasks.AbsTaskClassification):
        metadata = mteb.TaskMetadata(
            name='ToyClassification',
            description='Toy clips.',
            reference='https://example.org',
            dataset=dict(path='local/toy', revision='1'),
            type='VideoClassification',
            category='va2c' if 'audio' in modalities else 'v2c',
            modalities=list(modalities),
            eval_splits=['test'],
            eval_langs=['eng-Latn'],
            main_score='accuracy',
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation='',
        )
        input_column_name = modalities
        n_experiments = 1

        def load_data(self, **_):
            columns = {name: list(clips) for name in modalities}
            data = datasets.Dataset.from_dict(dict(columns, label=labels))
            data.set_transform(rows_of)
            self.dataset = datasets.DatasetDict(train=data, test=data)
            self.data_loaded = True

    return ToyClassification()


@pytest.mark.parametrize('modalities', [('video',), ('video', 'audio')])
def test_a_local_task_runs(recognizer, clips, modalities, monkeypatch):
    encoder = MTEBEncoder(recognizer, 'me/toy')
    assert isinstance(encoder, mteb.EncoderProtocol)
    found = []
    embed = encoder._embed
    monkeypatch.setattr(
        encoder, '_embed', lambda rows: found.append(embed(rows)) or found[-1]
    )
    clips = clips[:6]
    task = task_of(clips, [0, 1] * 3, modalities)
    result = mteb.evaluate(encoder, task, cache=None)
    scores = result.task_results[0].scores['test'][0]
    assert 0 <= scores['accuracy'] <= 1
    # What went through MTEB is what the model says of the files.
    samples = [recognizer.prepare(clip) for clip in clips]
    if 'audio' not in modalities:
        for sample in samples:
            audio = sample['inputs']['audios']
            absent = torch.zeros_like(audio.present)
            sample['inputs']['audios'] = audio._replace(present=absent)
    expected = extract(recognizer, samples)['fused']
    embedded = np.concatenate(found)[-len(clips) :]
    np.testing.assert_allclose(embedded, expected, atol=1e-4)


def test_tasks_with_text_are_refused(recognizer, clips):
    encoder = MTEBEncoder(recognizer)
    metadata = task_of(clips[:2], [0, 1], ('video', 'audio')).metadata
    metadata = metadata.model_copy(update=dict(modalities=['text']))
    with pytest.raises(ValueError, match='reads video'):
        encoder.encode(
            [], task_metadata=metadata, hf_split='test', hf_subset='default'
        )
