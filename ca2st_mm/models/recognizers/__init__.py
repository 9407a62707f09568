# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
from .multi_expert_recognizer import MultiExpertRecognizer

__all__ = ['MultiExpertRecognizer']
