# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Audio from the video's container or a file of its own."""

import os

import numpy as np

from ca2st_mm.registry import TRANSFORMS

from ..audio import MAX_SAMPLES, Audio, crop_audio, read_audio, resample_audio
from ..containers import probe
from ..faults import MediaError, NoAudioError
from .base import Transform

# What may be done about a clip without audio.
MISSING_AUDIO = 'raise', 'silence', 'drop'
# Rate of zero-filled audio where no sample_rate is asked for.
_SILENCE_RATE = 16000


@TRANSFORMS.register_module()
class LoadAudio(Transform):
    """Load the audio of a clip: mono, on the container's clock.

    Audio comes from ``audio_path`` where the sample has one, otherwise
    from the container ``filename`` itself (mp4/AAC, mkv/Opus, avi/MP3, wav,
    ... whatever FFmpeg reads).  An audio file of its own starts with its
    video: ``ffmpeg -i VIDEO AUDIO`` makes such a file.  Only ``clip_start``
    to ``clip_end`` is decoded where the sample has them.

    Required keys: ``filename``; optional ``audio_path``, ``clip_start``,
    ``clip_end``, ``container_start`` (from ``OpenVideo``), ``frame_times``
    (length of zero-filled audio), and ``audio`` (a
    :class:`ca2st_mm.datasets.audio.Audio`, or None), which then is used in
    place of the file.
    Added keys: ``has_audio`` (bool); ``waveform`` float32 (num_samples,), or
    None where the model is to do without; else ``sample_rate`` and
    ``audio_start`` (seconds of sample 0).

    Args:
        missing_audio: What to do with a clip without audio (no stream that
            can be decoded, an empty one, or no such audio file): ``'raise'``;
            ``'silence'``: a track of zeros; ``'drop'``: the model leaves
            audio out.
        sample_rate: Samples per second to resample to, the rate that the
            weights of the audio expert were trained at (AST: 16000); None
            keeps the file's rate, as the authors' code does.

    Raises:
        MediaError: If the file is damaged or exceeds a limit; names it.
        NoAudioError: If there is no audio and ``missing_audio='raise'``.

    >>> LoadAudio(missing_audio='silence', sample_rate=16000)
    LoadAudio(missing_audio='silence', sample_rate=16000)
    """

    def __init__(
        self, missing_audio: str = 'raise', sample_rate: int | None = None
    ) -> None:
        if missing_audio not in MISSING_AUDIO:
            raise ValueError(
                f'missing_audio is one of {", ".join(MISSING_AUDIO)}, not '
                f'{missing_audio!r}.'
            )
        self.missing_audio = missing_audio
        self.sample_rate = sample_rate

    def transform(self, results: dict) -> dict:
        """Load the audio of ``results``."""
        path = results.get('audio_path') or results['filename']
        why = 'has no audio that can be decoded'
        if 'audio' in results or '://' in path or os.path.exists(path):
            audio = self._audio(path, results)
        else:
            audio, why = None, 'does not exist'
        results['has_audio'] = audio is not None
        if audio is None and self.missing_audio == 'raise':
            raise NoAudioError(
                f"'{path}' {why}. Leave it out, or set "
                "LoadAudio(missing_audio='drop') or 'silence' in the config "
                '(commands that predict: --missing-audio drop).',
                'no audio',
            )
        if audio is None and self.missing_audio == 'silence':
            audio = self._silence(results)
        if audio is None:
            results['waveform'] = None
            return results
        audio = resample_audio(audio, self.sample_rate)
        results['waveform'] = audio.waveform
        results['sample_rate'] = audio.sample_rate
        results['audio_start'] = audio.start
        return results

    def _audio(self, path: str, results: dict) -> Audio | None:
        """The audio of the clip."""
        start, end = results.get('clip_start'), results.get('clip_end')
        if 'audio' in results:
            return crop_audio(results['audio'], start, end)
        offset = 0.0  # seconds from the clock of the audio to the video's
        if path != results['filename']:
            offset = _video_start(results) - probe(path).start
        start = None if start is None else start - offset
        end = None if end is None else end - offset
        audio = read_audio(path, start, end)
        return audio and audio._replace(start=audio.start + offset)

    def _silence(self, results: dict) -> Audio:
        """Zeros as long as the clip."""
        rate = self.sample_rate or _SILENCE_RATE
        start = results.get('clip_start') or 0.0
        end = results.get('clip_end')
        if end is None:
            times = results.get('frame_times')
            end = start + 1.0 if times is None else float(times[-1])
        length = min(max(round((end - start) * rate), 1), MAX_SAMPLES)
        return Audio(np.zeros(length, np.float32), rate, start)


@TRANSFORMS.register_module()
class CropAudio(Transform):
    """Cut for every view the audio played while its frames are shown.

    The span runs from the first to the end of the last sampled frame, and is
    widened around its centre to ``min_seconds``.  Outside of the track there
    are zeros.  Without this transform the spectrogram takes its window from
    the whole audio, as the authors' code does.

    Required keys: those of :class:`LoadAudio`, ``imgs_times`` and
    ``time_origin`` (from ``FrameTimes``), ``avg_fps``.
    Added keys: ``waveforms``, a list of num_views float32 arrays
    (num_samples,); ``waveform_times``, float64 (num_views, 2), start and
    end of each on the container's clock.

    Args:
        min_seconds: The least length of a cut.
    """

    def __init__(self, min_seconds: float = 0.0) -> None:
        self.min_seconds = min_seconds

    def transform(self, results: dict) -> dict:
        """Cut ``results['waveform']``."""
        if 'imgs_times' not in results:
            raise KeyError(
                'CropAudio cuts by the times of the frames: put '
                "dict(type='FrameTimes') before it."
            )
        if results['waveform'] is None:
            return results
        times = results['imgs_times'].astype(np.float64)
        times = times + results['time_origin']
        results['waveforms'], spans = [], []
        for view in times:
            start = view.min()
            end = view.max() + 1.0 / results['avg_fps']
            spare = max(self.min_seconds - (end - start), 0.0) / 2
            cut, span = self._cut(results, start - spare, end + spare)
            results['waveforms'].append(cut)
            spans.append(span)
        results['waveform_times'] = np.asarray(spans)
        return results

    @staticmethod
    def _cut(results: dict, start: float, end: float) -> tuple:
        """The samples from start to end and their exact times."""
        waveform, rate = results['waveform'], results['sample_rate']
        first = round((start - results['audio_start']) * rate)
        length = max(round((end - start) * rate), 1)
        if length > MAX_SAMPLES:
            raise MediaError(
                'the audio of',
                results['filename'],
                f'its frames lie {(end - start) / 3600:.0f} hours apart',
            )
        cut = np.zeros(length, np.float32)
        low, high = max(first, 0), min(first + length, len(waveform))
        if high > low:
            cut[low - first : high - first] = waveform[low:high]
        begin = results['audio_start'] + first / rate
        return cut, (begin, begin + length / rate)


def _video_start(results: dict) -> float:
    """Second at which the clock of the video starts."""
    if 'container_start' in results:
        return results['container_start']
    if not os.path.exists(results['filename']):
        return 0.0  # audio alone, or a video in another storage
    try:
        return probe(results['filename']).start
    except MediaError:
        return 0.0  # whoever reads the video will say so
