# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What can be predicted, and the pipeline that reads it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ca2st_mm.datasets.audio import Audio
from ca2st_mm.datasets.transforms import LoadAudio
from ca2st_mm.datasets.transforms.formatting import PackAudioVisual
from ca2st_mm.datasets.video import VideoReader
from ca2st_mm.registry import TRANSFORMS

from .prediction import Views, audio_windows


@dataclass(frozen=True)
class VideoAndAudio:
    """A video whose audio is in another file.

    Both share the zero of time.

    Attributes:
        video: The video file.
        audio: The file of its audio.

    Example:
        >>> VideoAndAudio('clip.mp4', 'clip.wav').audio
        'clip.wav'
    """

    video: str | Path
    audio: str | Path


@dataclass(frozen=True, eq=False)
class ArrayClip:
    """A clip in memory: frames, and audio if there is some.

    Arrays and tensors both do.

    Attributes:
        frames: RGB uint8, (num_frames, height, width, 3).
        fps: Frames a second.
        audio: A waveform, floats in [-1, 1], (num_samples,) or (channels,
            num_samples), and its samples a second; None for no audio.
        start: Second of the first frame and of the first sample.
        name: What predictions call it.

    Raises:
        ValueError: If an array has another shape or type, or a frame or
            sample rate is not positive.

    Example:
        >>> import numpy as np
        >>> frames = np.zeros((50, 120, 160, 3), np.uint8)
        >>> clip = ArrayClip(frames, 25, (np.zeros(32000), 16000))
        >>> len(clip.frames) / clip.fps
        2.0
    """

    frames: Any
    fps: float
    audio: tuple[Any, int] | None = None
    start: float = 0.0
    name: str = 'array'

    def __post_init__(self) -> None:
        frames = _to_numpy(self.frames)
        if frames.dtype != np.uint8 or frames.shape[3:] != (3,):
            raise ValueError(
                'frames are RGB uint8 of the shape (frames, height, width, '
                f'3), got {frames.dtype} {frames.shape}'
            )
        if not len(frames):
            raise ValueError('frames holds no frame')
        if self.fps <= 0:
            raise ValueError(f'fps is above 0, got {self.fps}')
        object.__setattr__(self, 'frames', frames)
        if self.audio is None:
            return
        waveform, rate = self.audio
        waveform = _to_numpy(waveform)
        if waveform.dtype.kind != 'f' or waveform.ndim not in (1, 2):
            raise ValueError(
                'a waveform is float, (samples,) or (channels, samples), got '
                f'{waveform.dtype} {waveform.shape}'
            )
        if rate <= 0:
            raise ValueError(f'the sample rate is above 0, got {rate}')
        object.__setattr__(self, 'audio', (waveform, int(rate)))

    def as_results(self) -> dict[str, Any]:
        """The first entries of a pipeline's results."""
        stamps = self.start + np.arange(len(self.frames)) / self.fps
        reader = VideoReader(
            self.name, self.fps, stamps, decode=self.frames.__getitem__
        )
        audio = None
        if self.audio is not None:
            waveform, rate = self.audio
            if waveform.ndim == 2:
                waveform = waveform.mean(axis=0)
            audio = Audio(waveform.astype(np.float32), rate, self.start)
        return dict(filename=self.name, video_reader=reader, audio=audio)


def _to_numpy(values: Any) -> np.ndarray:
    """An array, of a tensor on any device as well."""
    if hasattr(values, 'detach'):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


Source = str | Path | VideoAndAudio | ArrayClip


def name_of(source: Source) -> str:
    """What predictions call a source."""
    if isinstance(source, VideoAndAudio):
        return str(source.video)
    return source.name if hasattr(source, 'as_results') else str(source)


def dataset_of(cfg: Config) -> Mapping[str, Any]:
    """The data set that a config tests on, out of its wrappers.

    Raises:
        ValueError: If the config has none, or it has no pipeline.

    Example:
        >>> inner = dict(pipeline=[dict(type='OpenVideo')])
        >>> cfg = Config(dict(test_dataloader=dict(dataset=inner)))
        >>> dataset_of(cfg)['pipeline']
        [{'type': 'OpenVideo'}]
    """
    dataset = cfg.get('test_dataloader')
    while isinstance(dataset, Mapping) and 'dataset' in dataset:
        dataset = dataset['dataset']
        steps = isinstance(dataset, Mapping) and dataset.get('pipeline')
        if steps and isinstance(steps, list):
            return dataset
    raise ValueError(
        'the config has no list test_dataloader.dataset.pipeline, which says '
        'how clips are read; use a config with test data'
    )


class InferencePipeline:
    """The transforms of a test, run on any source.

    The packed sample says which views they chose.

    Args:
        steps: Configs of the transforms; the last one packs.

    Attributes:
        missing_audio: What the config says is done about a clip without
            audio, ``LoadAudio(missing_audio=...)``; None if audio is not read.
        packs_presence: Whether a packed sample says that it lacks audio.

    Example:
        >>> sample = recognizer.pipeline('clip.mp4', start=0.25)
        >>> sample['data_samples'].start, sorted(sample['inputs'])
        (0.25, ['audios', 'imgs'])
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]]) -> None:
        self.transforms = [TRANSFORMS.build(step) for step in steps]
        loads = [s for s in self.transforms if isinstance(s, LoadAudio)]
        self.missing_audio = loads[0].missing_audio if loads else None
        self.packs_presence = isinstance(self.transforms[-1], PackAudioVisual)

    def __call__(
        self,
        source: Source,
        start: float | None = None,
        end: float | None = None,
        missing_audio: str | None = None,
    ) -> dict:
        """Read a source; see :meth:`Recognizer.prepare`."""
        results = first = _first_results(source, start, end)
        *transforms, pack = self.transforms
        try:
            for transform in transforms:
                if missing_audio and isinstance(transform, LoadAudio):
                    transform = copy.copy(transform)
                    transform.missing_audio = missing_audio
                results = transform(results)
        finally:
            if isinstance(reader := first.get('video_reader'), VideoReader):
                reader.close()
        views, name = Views.of(results), first['filename']
        packed = pack(results)
        packed['data_samples'].set_metainfo(
            dict(
                source=name,
                start=start,
                end=end,
                views=views,
                audio_windows=audio_windows(results),
            )
        )
        return packed


def _first_results(
    source: Source, start: float | None, end: float | None
) -> dict:
    """A source in the keys of ``AudioVisualDataset``."""
    if start is not None and end is not None and end <= start:
        raise ValueError(
            f'the span ends at {end} s, which is not after its start at '
            f'{start} s'
        )
    if hasattr(source, 'as_results'):
        first = source.as_results()
    else:
        video, audio = source, None
        if isinstance(source, VideoAndAudio):
            video, audio = source.video, source.audio
        for path in (video, audio):
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(f"there is no file '{path}'")
        first = dict(filename=str(video), audio_path=audio and str(audio))
    return dict(
        first,
        clip_id=None,
        clip_start=start,
        clip_end=end,
        modality='RGB',
        start_index=0,
    )
