# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""MTEB runs a model on a local task of its own."""

import numpy as np
import pytest

from ca2st_mm.apis.features import extract

mteb = pytest.importorskip('mteb', reason='needs pip install "mteb[video]"')
datasets = pytest.importorskip('datasets')
from mteb.abstasks import AbsTaskClassification  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

from ca2st_mm.apis.mteb_encoder import MTEBEncoder  # noqa: E402


def task_of(clips, labels, modalities):
    """A classification of local clips, each in both splits."""

    class ToyClassification(AbsTaskClassification):
        metadata = TaskMetadata(
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
            data = data.cast_column('video', datasets.Video())
            if 'audio' in modalities:
                data = data.cast_column('audio', datasets.Audio())
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
    samples = [
        recognizer.prepare(
            clip, **({} if 'audio' in modalities else dict(start=0))
        )
        for clip in clips
    ]
    expected = extract(recognizer, samples)['fused']
    embedded = np.concatenate(found)[: len(clips)]
    assert embedded.shape == expected.shape
    if 'audio' in modalities:
        np.testing.assert_allclose(embedded, expected, atol=0.05)


def test_tasks_with_text_are_refused(recognizer, clips):
    encoder = MTEBEncoder(recognizer)
    metadata = task_of(clips[:2], [0, 1], ('video', 'audio')).metadata
    metadata = metadata.model_copy(update=dict(modalities=['text']))
    with pytest.raises(ValueError, match='reads video'):
        encoder.encode(
            [], task_metadata=metadata, hf_split='test', hf_subset='default'
        )
