# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The last step of a pipeline: what the model gets."""

from collections.abc import Sequence

from mmaction.datasets.transforms import PackActionInputs
from mmcv.transforms import to_tensor

from ca2st_mm.registry import TRANSFORMS
from ca2st_mm.structures import PRESENT, TIMES, Stream

CANNOT_DROP = (
    "missing_audio='drop' has no effect, because the pipeline does not pack "
    'which clips lack audio; end it with PackAudioVisual, or use '
    "missing_audio='silence'"
)


@TRANSFORMS.register_module()
class PackAudioVisual(PackActionInputs):
    """Pack each stream with its clock times and its presence.

    Like MMAction2's ``PackActionInputs``, but ``inputs`` of the result are
    :class:`~ca2st_mm.structures.Stream` by name.

    Required keys: the streams; for each ``<stream>_times`` and
    ``<stream>_present`` are packed if a step before made them.

    Args:
        streams: Keys of the streams.
        meta_keys: Keys that go to the meta information of the data sample.
        algorithm_keys: Keys that become fields of the data sample.
        half_times: Whether clock times are rounded to float16, as in the
            authors' training: to 1/128 s between 8 and 16 s.

    Raises:
        KeyError: If a stream is not in the results.

    Example:
        >>> import numpy as np
        >>> pack = PackAudioVisual(streams=('imgs',), meta_keys=())
        >>> results = dict(imgs=np.zeros((1, 3)), imgs_times=np.ones((1, 8)))
        >>> pack(dict(results, label=2))['inputs']['imgs'].times.shape
        torch.Size([1, 8])
    """

    def __init__(
        self,
        streams: Sequence[str] = ('imgs', 'audios'),
        meta_keys: Sequence[str] = (
            'img_shape',
            'filename',
            'clip_id',
            'has_audio',
        ),
        algorithm_keys: Sequence[str] = (),
        half_times: bool = False,
    ) -> None:
        super().__init__(tuple(streams), meta_keys, algorithm_keys)
        self.half_times = half_times

    def transform(self, results: dict) -> dict:
        """Pack the results of one sample."""
        if missing := [k for k in self.collect_keys if k not in results]:
            raise KeyError(
                f'PackAudioVisual packs the streams {missing}, which no step '
                'before made; add the step (LogMelSpectrogram makes '
                "'audios'), or name in `streams` what there is"
            )
        packed = super().transform(results)
        streams = {}
        for name, values in packed['inputs'].items():
            times, present = (
                to_tensor(results[name + part])
                if name + part in results
                else None
                for part in (TIMES, PRESENT)
            )
            if self.half_times and times is not None:
                times = times.half().to(times.dtype)
            streams[name] = Stream(values, times, present)
        packed['inputs'] = streams
        return packed
