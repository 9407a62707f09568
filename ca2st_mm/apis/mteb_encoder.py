# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A trained model in MTEB, the field's harness for embeddings.

MTEB (``pip install "mteb[video]"``, 2.26) has tasks of classification and
clustering on video and on video with audio (AVE, VGGSound, Kinetics, RAVDESS,
...), which need no text.  Tasks of zero-shot classification and of retrieval
with text ask for a text encoder, which these models lack.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .features import extract
from .recognizer import Recognizer
from .sources import ArrayClip


class MTEBEncoder:
    """What MTEB calls an encoder: clips to embeddings.

    The embedding is what the classifier reads: the fused feature of all
    experts, of verb and noun side by side if the head has both.  Clips go
    through the pipeline of the model's test, which chooses frames itself.
    Without audio, in tasks on video alone too, the audio expert is left out
    where the model can do that, otherwise it reads silence.

    Args:
        recognizer: The model.
        name: What results call it, ``owner/name``.
        revision: Of the weights.
        max_frames: Longer videos are thinned out evenly to this many frames
            before the pipeline chooses among them, which bounds memory.

    With MTEB installed::

        encoder = MTEBEncoder(Recognizer.from_pretrained('ca2st.pth'))
        tasks = mteb.get_tasks(tasks=['AVEDatasetClassification'])
        mteb.evaluate(encoder, tasks)
    """

    def __init__(
        self,
        recognizer: Recognizer,
        name: str = 'ca2st_mm/model',
        revision: str = 'local',
        max_frames: int = 1024,
    ) -> None:
        from mteb.models import ModelMeta

        self.recognizer = recognizer
        self.max_frames = max_frames
        reads_audio = recognizer.pipeline.missing_audio is not None
        self.missing_audio = None
        if reads_audio:
            can_drop = recognizer.why_not_drop() is None
            self.missing_audio = 'drop' if can_drop else 'silence'
        self.mteb_model_meta = ModelMeta.create_empty(
            dict(
                name=name,
                revision=revision,
                modalities=['video', 'audio'] if reads_audio else ['video'],
                framework=['PyTorch'],
                similarity_fn_name='cosine',
                n_parameters=sum(
                    p.numel() for p in recognizer.model.parameters()
                ),
            )
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Embeddings of the clips of a data loader, (clips, C), float32.

        Raises:
            ValueError: If the task has inputs other than video and audio, or
                no video.
        """
        modalities = set(task_metadata.get_modalities(prompt_type))
        if 'video' not in modalities or modalities - {'video', 'audio'}:
            raise ValueError(
                f'the task {task_metadata.name} has the inputs '
                f'{sorted(modalities)}; the model reads video, with or '
                'without audio'
            )
        inputs.collate_fn = list
        return np.concatenate([self._embed(rows) for rows in inputs])

    def _embed(self, rows: Sequence[dict]) -> np.ndarray:
        samples = [
            self.recognizer.prepare(
                self._clip(row), missing_audio=self.missing_audio
            )
            for row in rows
        ]
        features = extract(self.recognizer, samples)
        fused = [v for name, v in features.items() if name.startswith('fused')]
        return np.concatenate(fused, axis=1)

    def _clip(self, row: dict) -> ArrayClip:
        """The clip of a row: torchcodec's decoder, and samples."""
        video, track = row['video'], row.get('audio')
        count = video.metadata.num_frames
        places = np.arange(count)
        if count > self.max_frames:
            places = np.linspace(0, count - 1, self.max_frames).round()
        frames = video.get_frames_at(places.astype(int).tolist())
        seconds = frames.pts_seconds.numpy()
        fps = video.metadata.average_fps * len(places) / count
        audio = None
        if track is not None:
            waveform = np.asarray(track['array'], np.float32)
            audio = waveform, int(track['sampling_rate'])
        return ArrayClip(
            frames.data.permute(0, 2, 3, 1), fps, audio, float(seconds[0])
        )

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosine of every pair, (n, m)."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosine of the n-th of both, (n,)."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)
