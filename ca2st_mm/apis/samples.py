# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""From a source to a packed sample, by the test pipeline of a config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ca2st_mm.datasets.transforms import LoadAudio
from ca2st_mm.datasets.video import VideoReader
from ca2st_mm.registry import TRANSFORMS

from .array_clip import ArrayClip
from .prediction import views_of

# A file, a video and the file of its sound, or arrays.
Source = str | Path | tuple[str | Path, str | Path] | ArrayClip


def dataset_of(cfg: Config) -> Mapping[str, Any]:
    """The data set that a config tests on, out of its wrappers.

    Raises:
        ValueError: If the config has none, or it has no pipeline.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'pipeline' not in dataset:
        if 'dataset' not in dataset:
            raise ValueError(
                'the config has no test_dataloader.dataset.pipeline, which '
                'says how clips are read; take a config with test data'
            )
        dataset = dataset['dataset']
    return dataset


class ViewPlan:
    """The transforms of a test, with a note of what they chose.

    Args:
        steps: Configs of the transforms; the last one packs.

    Attributes:
        missing_sound: What is done about a clip without sound, as
            ``LoadAudio`` says it; None if sound is not read.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]]) -> None:
        *transforms, pack = [TRANSFORMS.build(step) for step in steps]
        self._transforms = transforms
        self._pack = pack
        policies = [t.missing for t in transforms if isinstance(t, LoadAudio)]
        self.missing_sound = policies[0] if policies else None

    def __call__(
        self,
        source: Source,
        start: float | None = None,
        end: float | None = None,
    ) -> dict:
        """Read a source; see :meth:`Recognizer.prepare`."""
        info = results = describe(source, start, end)
        name = info['filename']
        try:
            for transform in self._transforms:
                results = transform(results)
        finally:
            reader = info.get('video_reader')
            if isinstance(reader, VideoReader):
                reader.close()
        packed = self._pack(results)
        packed['data_samples'].set_metainfo(
            dict(
                source=name,
                start=start,
                end=end,
                views=views_of(results),
            )
        )
        return packed


def describe(source: Source, start: float | None, end: float | None) -> dict:
    """A source in the words of ``AudioVisualDataset``.

    Args:
        source: A media file, a video and its sound file, or arrays.
        start: First second wanted.
        end: Last second wanted.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the span is empty.
    """
    if start is not None and end is not None and end <= start:
        raise ValueError(
            f'the span ends at {end} s, which is not after its start at '
            f'{start} s'
        )
    where = _arrays if isinstance(source, ArrayClip) else _files
    return dict(
        where(source),
        clip_id=None,
        clip_start=start,
        clip_end=end,
        modality='RGB',
        start_index=0,
    )


def _arrays(clip: ArrayClip) -> dict:
    return dict(
        filename=clip.name, video_reader=clip.reader(), audio=clip.track()
    )


def _files(source: str | Path | tuple) -> dict:
    video, sound = source if isinstance(source, tuple) else (source, None)
    for path in (video, sound):
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
    return dict(filename=str(video), audio_path=sound and str(sound))
