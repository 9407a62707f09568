# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Doors for users: models by name, predictions, publishing of weights."""

from .array_clip import ArrayClip
from .modality import WhichSense, which_sense
from .models import get_config, get_model, list_models, load_weights
from .prediction import Prediction, Views
from .publishing import is_delta, publish
from .recognizer import Recognizer

__all__ = [
    'ArrayClip',
    'Prediction',
    'Recognizer',
    'Views',
    'WhichSense',
    'get_config',
    'get_model',
    'is_delta',
    'list_models',
    'load_weights',
    'publish',
    'which_sense',
]
