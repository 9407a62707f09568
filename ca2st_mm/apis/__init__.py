# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""For users: models by name, predictions, sharing of weights.

``Recognizer.predict`` reads a clip with the pipeline of ``sources``, runs the
model in ``recognizer``, and ranks the classes in ``prediction``.
"""

from ca2st_mm.checkpoints.sharing import push_to_hub, save_pretrained

from .modality_contributions import (
    ModalityContributions,
    modality_contributions,
)
from .models import get_config, get_model, list_models, load_weights
from .prediction import Prediction, Views
from .recognizer import Recognizer
from .sources import ArrayClip, VideoAndAudio

__all__ = [
    'ArrayClip',
    'ModalityContributions',
    'Prediction',
    'Recognizer',
    'VideoAndAudio',
    'Views',
    'get_config',
    'get_model',
    'list_models',
    'load_weights',
    'modality_contributions',
    'push_to_hub',
    'save_pretrained',
]
