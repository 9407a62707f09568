# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Steps of a sound pipeline for kitchens: 4 s at 24 kHz.

The authors extracted sound at 24 kHz; other rates are resampled here, as mel
bands depend on the rate.  400 frames are what they use on EPIC-SOUNDS.  For
EPIC-KITCHENS-100 they are our choice: the authors' number is not known, and
clips are mostly shorter.
"""

_base_ = './common_sound.py'

load_audio = dict(sample_rate=24000)
train_spectrogram = dict(num_frames=400)
val_spectrogram = dict(num_frames=400)
test_spectrogram = dict(num_frames=400)
