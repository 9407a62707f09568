# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Features of clips, and one file of them for each clip."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from ca2st_mm.datasets.file_jobs import Done, make_files
from ca2st_mm.datasets.manifest import read_annotations
from ca2st_mm.datasets.transcode import finished_or_nothing
from ca2st_mm.models.backbones import MultiExpertBackbone
from ca2st_mm.utils.records import read_record, write_record

from .recognizer import Recognizer
from .sources import VideoAndAudio
from .windows import Extent, count_windows, extent_of

# What an expert alone is called.
ALONE = 'expert'
SETTINGS = 'features.json'
LISTS = ('.csv', '.txt')
PER, FORMATS = ('clip', 'second'), ('npz', 'safetensors')

Features = dict[str, np.ndarray]
Span = tuple[float | None, float | None]


@torch.no_grad()
def extract(
    recognizer: Recognizer,
    samples: Sequence[Mapping],
    layers: Sequence[int] = (),
) -> Features:
    """Features of prepared samples, in one batch.

    Args:
        recognizer: The model.
        samples: What :meth:`Recognizer.prepare` returns.
        layers: Layers whose tokens are wanted, from 0.

    Returns:
        By name, float32, a row for each sample: the pooled feature of each
        expert (rows, C), what each classifier reads (``fused``, or
        ``fused_verb`` and ``fused_noun``; (rows, C)), both averaged over the
        views; and ``<expert>.layer<number>``, the tokens of every view after
        that layer, (rows, views, T, P + N, C).  An expert whose input a
        sample lacks has NaN.

    Raises:
        ValueError: If the model has no such layer.

    Example:
        >>> samples = [recognizer.prepare('clip.mp4')]
        >>> extract(recognizer, samples)['fused'].shape
        (1, 16)
    """
    model, head = recognizer.model, recognizer.model.cls_head
    check_layers(model.backbone, layers)
    inputs, rows = recognizer.batch(samples)['inputs'], len(samples)
    fused, tokens = {}, {}
    if isinstance(model.backbone, MultiExpertBackbone):
        output, _ = model.extract_feat(
            inputs, test_mode=True, return_tokens=tuple(layers)
        )
        features = dict(getattr(output, 'features', output))
        tokens = getattr(output, 'tokens', {})
        # What each classifier reads.
        if hasattr(head, 'fusions'):
            fused = {
                f'fused_{task}': head.fusions[head.fusion_of[task]](features)
                for task in head.sizes
            }
        elif hasattr(head, 'fusion'):
            fused = {'fused': head.fusion(features)}
    else:
        feature, _ = model.extract_feat(inputs, test_mode=True)
        features, fused = {ALONE: feature}, {'fused': feature}
        if layers:
            tokens = _tokens_of_one(model.backbone, inputs, layers)
    found = {
        name: value.float().reshape(rows, -1, value.shape[-1])
        for name, value in {**features, **fused}.items()
    }
    found |= {
        f'{name}.layer{layer}': value.float().unflatten(0, (rows, -1))
        for (name, layer), value in tokens.items()
    }
    # NaN for what was computed from the placeholder of a missing input.
    for flag in [name for name in found if name.endswith('_present')]:
        expert = flag.removesuffix('_present')
        absent = found.pop(flag)[..., 0] == 0
        for name, value in found.items():
            if name == expert or name.startswith(f'{expert}.layer'):
                value[absent] = torch.nan
    return {
        name: (value if '.layer' in name else value.mean(1)).cpu().numpy()
        for name, value in found.items()
    }


def check_layers(backbone: nn.Module, layers: Sequence[int]) -> None:
    """Raise ``ValueError`` unless a backbone has these layers."""
    depth = backbone.num_layers
    if wrong := [layer for layer in layers if not 0 <= layer < depth]:
        raise ValueError(
            f'the model has the layers 0 to {depth - 1}, got {wrong}'
        )


def _tokens_of_one(
    expert: nn.Module, inputs: Any, layers: Sequence[int]
) -> dict[tuple[str, int], Tensor]:
    """Tokens of a lone expert after layers, (batch * views, T, P + N, C)."""
    found = {}
    tokens = expert.embed(inputs.flatten(0, 1))
    for layer in range(max(layers) + 1):
        tokens = expert.forward_attn(tokens, layer)
        tokens = expert.forward_ffn(tokens, layer)
        if layer in layers:
            found[ALONE, layer] = tokens
    return found


class Clip(NamedTuple):
    """What one file of features is made of.

    Attributes:
        name: Of the file to write, without extension.
        video: The media file.
        audio: The file of its audio, if that is another one.
        start: First second; None for the beginning.
        end: Last second; None for the end.
    """

    name: str
    video: str
    audio: str | None = None
    start: float | None = None
    end: float | None = None


def clips_of(names: Sequence[str], root: str | None = None) -> list[Clip]:
    """The clips of media files and annotation files.

    Args:
        names: Media files, or manifests (``.csv``, ``.txt``).
        root: Folder that the names in manifests are relative to; None for
            that of each manifest.

    Raises:
        ValueError: If a manifest is not understood, or two clips would be
            written to one file; names them.
        FileNotFoundError: If a manifest is not there.

    Example:
        >>> clips_of(['a.mp4'])[0].name
        'a'
    """
    clips: list[Clip] = []
    for name in names:
        if name.endswith(LISTS):
            folder = Path(name).parent if root is None else Path(root)
            clips += _listed(name, folder)
        else:
            clips.append(Clip(Path(name).stem, name))
    seen: dict[str, Clip] = {}
    for clip in clips:
        other = seen.setdefault(clip.name, clip)
        if other is not clip:
            raise ValueError(
                f"the features of '{other.video}' and '{clip.video}' would "
                f"both be called '{clip.name}'; give them to two runs with "
                "different --out, or a manifest with a column 'id'"
            )
    return clips


def _listed(path: str, folder: Path) -> Iterator[Clip]:
    for row in read_annotations(path, {}):
        name = row['id'] or str(Path(row['file']).with_suffix(''))
        if row['id'] is None and (row['start'], row['end']) != (None, None):
            name = f'{name}_{row["start"] or 0:g}_{row["end"] or "end"}'
        audio = row['audio'] and str(folder / row['audio'])
        video = str(folder / row['file'])
        yield Clip(name, video, audio, row['start'], row['end'])


def spans_of(clip: Clip, per: str) -> list[Span]:
    """The spans that the rows of a file stand for.

    Args:
        clip: The clip.
        per: 'clip': one row; 'second': one for each, the last one shorter.
    """
    if per == 'clip':
        return [(clip.start, clip.end)]
    start, end, tick = extent_of(clip.video)
    start = start if clip.start is None else clip.start
    end = end if clip.end is None else min(end, clip.end)
    count = count_windows(Extent(start, end, tick), 1, 1)
    return [(start + i, min(start + i + 1, end)) for i in range(count)]


def write_features(
    recognizer: Recognizer,
    clips: Sequence[Clip],
    folder: str | Path,
    per: str = 'clip',
    form: str = 'npz',
    layers: Sequence[int] = (),
    batch_size: int = 8,
    model: Mapping[str, str] | None = None,
) -> Iterator[Done]:
    """Write a file of features for each clip, but for those there already.

    Every file holds what :func:`extract` returns, ``start`` and ``end``
    (rows,), float64 seconds on the file's clock, and for a model that uses
    audio ``has_audio`` (rows,), bool.

    Args:
        recognizer: The model.
        clips: Of :func:`clips_of`.
        folder: Where the files go.
        per: 'clip' or 'second': what a row is.
        form: 'npz' or 'safetensors'.
        layers: Layers whose tokens are wanted.
        batch_size: How many rows go through the model at once.
        model: What identifies the model, e.g. hashes.

    Yields:
        A report for each clip; a bad file is a fault that names it.

    Raises:
        ValueError: If the folder holds features made another way.

    Example:
        >>> clips = clips_of(['clip.mp4'])
        >>> [done.fault for done in write_features(recognizer, clips, 'out')]
        ['']
        >>> np.load('out/clip.npz')['fused'].shape
        (1, 16)
    """
    folder = Path(folder)
    settings = dict(per=per, layers=list(layers), **(model or {}))
    if (note := folder / SETTINGS).is_file():
        found = read_record(note)
        if other := [k for k in settings if found.get(k) != settings[k]]:
            raise ValueError(
                f'{folder} holds features of another {" and ".join(other)}; '
                'choose another folder'
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_record(note, settings)
    by_target = {str(folder / f'{clip.name}.{form}'): clip for clip in clips}

    def make(target: str) -> None:
        clip = by_target[target]
        if not os.path.isfile(clip.video):
            raise FileNotFoundError(f"there is no file '{clip.video}'")
        spans = spans_of(clip, per)
        tensors = _rows_of(recognizer, clip, spans, layers, batch_size)
        about = dict(source=clip.video)
        with finished_or_nothing(target) as part:
            if form == 'safetensors':
                save_file(tensors, part, metadata=about)
            else:
                # NumPy's archive has no metadata; it is an entry, JSON.
                np.savez(part, metadata=np.array(json.dumps(about)), **tensors)

    # The model takes all cores; a second thread would only add memory.
    yield from make_files(list(by_target), make, num_workers=1)


def _rows_of(
    recognizer: Recognizer,
    clip: Clip,
    spans: Sequence[Span],
    layers: Sequence[int],
    batch_size: int,
) -> Features:
    """Features of a clip, with a row for each span."""
    source = clip.video
    if clip.audio is not None:
        source = VideoAndAudio(clip.video, clip.audio)
    parts, has_audio = [], []
    for first in range(0, len(spans), batch_size):
        samples = [
            recognizer.prepare(source, *span)
            for span in spans[first : first + batch_size]
        ]
        parts.append(extract(recognizer, samples, layers))
        has_audio += [s['data_samples'].views.has_audio for s in samples]
    rows = {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
    # Open ends are those of the file.
    extent = extent_of(clip.video)
    starts = [extent.start if start is None else start for start, _ in spans]
    ends = [extent.end if end is None else end for _, end in spans]
    rows['start'] = np.array(starts, float)
    rows['end'] = np.array(ends, float)
    if None not in has_audio:
        rows['has_audio'] = np.array(has_audio)
    return rows
