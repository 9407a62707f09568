# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Threads that share a model get the answers of a single thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ca2st_mm.apis.features import extract
from ca2st_mm.apis.modality_contributions import modality_contributions
from ca2st_mm.visualization.attention import read_attention


def contributions(recognizer, path):
    found = modality_contributions(recognizer, recognizer.prepare(path))
    return {part: scores['label'] for part, scores in found.parts.items()}


def attention(recognizer, path):
    maps = read_attention(recognizer, path).maps
    return {(n, m.layer): m.heat() for n, found in maps.items() for m in found}


CALLS = (
    lambda recognizer, path: recognizer.predict(path)[0].logits,
    lambda recognizer, path: extract(
        recognizer, [recognizer.prepare(path)], layers=[0, 1]
    ),
    contributions,
    attention,
)


def test_mixed_calls_of_threads_do_not_disturb_each_other(recognizer, clips):
    jobs = [(call, path) for path in clips[:3] for call in CALLS] * 3
    alone = {job: job[0](recognizer, job[1]) for job in jobs}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda job: job[0](recognizer, job[1]), jobs))
    for job, answer in zip(jobs, answers, strict=True):
        assert answer.keys() == alone[job].keys()
        for key, value in answer.items():
            np.testing.assert_allclose(
                value, alone[job][key], atol=1e-5, err_msg=str((job, key))
            )
