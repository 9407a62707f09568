# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What an exported file says about itself."""

import hashlib
import json
import os.path as osp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmaction
import torch
from mmengine.config import Config

from ca2st_mm.apis.sources import dataset_of
from ca2st_mm.utils.errors import UsageError
from ca2st_mm.utils.files import sha256_of
from ca2st_mm.version import __version__

from .graph import LOGITS, ExportableRecognizer, GraphInput, streams_of

UNKNOWN = 'unknown'
# Views that a transform makes of one clip.
CROPS = {'ThreeCrop': 3, 'TenCrop': 10}


def describe(
    module: ExportableRecognizer,
    inputs: Sequence[GraphInput],
    config: Config,
    class_names: Mapping[str, Sequence[str]],
    checkpoint: str | Path | None = None,
) -> dict[str, Any]:
    """All that a user of the file has to know, as plain values.

    Args:
        module: What is exported.
        inputs: What it takes.
        config: Config of the recognizer.
        class_names: By task.
        checkpoint: File of the weights; None for random ones.

    Returns:
        ``inputs`` (name, shape, type, meaning, the mean and deviation that
        the model itself applies), ``outputs`` with class names, ``views``,
        the test ``pipeline``, ``config``, ``weights`` and ``versions``.

    Raises:
        UsageError: If the test pipeline packs no such inputs.
        ValueError: If the config has no test pipeline.
    """
    to_shares = 'sigmoid' if module.head.multi_class else 'softmax'
    averages = {'prob': f'{to_shares}, then mean', 'score': 'mean'}
    pipeline = dataset_of(config)['pipeline']
    pack, streams = pipeline[-1], {*streams_of({i.name: i for i in inputs})}
    packed = pack.get('collect_keys') or streams
    if pack['type'] == 'PackAudioVisual':
        packed = pack.get('streams', ('imgs', 'audios'))
    if missing := sorted(streams.difference(packed)):
        raise UsageError(
            f'the model reads {missing}, but the test pipeline packs '
            f'{[*packed]}; end it with PackAudioVisual'
        )
    clips = [step['num_clips'] for step in pipeline if 'num_clips' in step]
    crops = [s.get('num_crops') or CROPS.get(s['type']) for s in pipeline]
    crops = [crop for crop in crops if crop]
    is_file = checkpoint is not None and osp.isfile(checkpoint)
    record = dict(
        inputs=[
            dict(
                name=one.name,
                shape=['views', *one.shape],
                type='float32',
                meaning=one.meaning,
                normalised_inside=dict(
                    mean=normalise.mean.flatten().tolist(),
                    std=normalise.std.flatten().tolist(),
                ),
            )
            for one, normalise in zip(
                inputs, module.normalisations, strict=True
            )
        ],
        outputs=[
            dict(
                name=LOGITS if task == 'label' else task,
                shape=['views', len(names)],
                type='float32',
                meaning=f'logits of every view, before {to_shares} and '
                'averaging',
                classes=list(names),
            )
            for task, names in class_names.items()
        ],
        dynamic='the number of views; every other size is fixed by the '
        "experts' position tables",
        views=dict(
            clips=clips[0] if clips else 1,
            crops=crops[0] if crops else 1,
            order='crop by crop: view v is clip v % clips under crop '
            'v // clips',
            average=averages.get(module.head.average_clips, UNKNOWN),
        ),
        pipeline=pipeline,
        config=dict(
            name=osp.basename(config.filename or UNKNOWN),
            sha256=hashlib.sha256(config.pretty_text.encode()).hexdigest(),
        ),
        weights=dict(
            checkpoint='random' if checkpoint is None else str(checkpoint),
            sha256=sha256_of(checkpoint) if is_file else UNKNOWN,
            types=sorted({str(p.dtype)[6:] for p in module.parameters()}),
        ),
        versions=dict(
            ca2st_mm=__version__,
            torch=torch.__version__,
            mmaction2=mmaction.__version__,
        ),
    )
    # As it will be read back: lists for tuples, objects by their repr.
    return json.loads(json.dumps(record, default=repr))
