# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Result files as our tools write them, small and made by hand."""

import json
import pickle
import runpy
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def write_dump(path, labels, answers, num_classes, unreadable=(), **meta):
    """A dump in which each clip's best class is the given answer."""
    samples = []
    for label, answer in zip(labels, answers, strict=True):
        scores = torch.full((num_classes,), 0.5 / (num_classes - 1))
        scores[answer] = 0.5
        sample = dict(pred_score=scores, gt_label=torch.tensor([label]))
        sample |= {k: v[len(samples)] for k, v in meta.items()}
        if len(samples) in unreadable:  # as on_error='skip' marks it
            sample['unreadable'] = 'no frame can be decoded'
        samples.append(sample)
    path.write_bytes(pickle.dumps(samples))
    return path


def write_verb_noun_dump(path, labels, answers, sizes):
    """The same with verbs and nouns; labels and answers are pairs."""
    samples = []
    for label, answer in zip(labels, answers, strict=True):
        sample = dict(gt_label=torch.tensor(label))
        for task, best, size in zip(
            ('verb', 'noun'), answer, sizes, strict=True
        ):
            scores = torch.nn.functional.one_hot(torch.tensor(best), size)
            sample[f'pred_{task}_score'] = scores.float()
        samples.append(sample)
    path.write_bytes(pickle.dumps(samples))
    return path


def write_results(path, views=(1,), **metrics):
    record = dict(metrics=metrics, data=dict(views=list(views)))
    path.write_text(json.dumps(record))
    return path


def write_cost(path, macs, parameters=2e6, trained=1e6):
    row = dict(part='all', parameters=parameters, trainable=trained, macs=macs)
    path.write_text(json.dumps([row]))
    return path


def run_figure(tool, *arguments):
    """Run one of tools/visualize in this process; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        path = ROOT / 'tools' / 'visualize' / f'{tool}.py'
        try:
            runpy.run_path(str(path), run_name='__main__')
        except SystemExit as stop:
            return stop.code
    return 0


def is_png(path):
    return path.read_bytes().startswith(b'\x89PNG') and (
        path.stat().st_size > 5000
    )
