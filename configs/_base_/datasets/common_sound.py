# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Steps of a sound pipeline: AST's log-mel spectrogram, 10.24 s of it.

Sound comes from the video, or from the manifest's column ``audio`` where it
has one, at the rate of the file: the authors do not resample, and mel bands
reach up to half of the rate.
"""

load_audio = dict(type='LoadAudio', missing='raise')
# Each view at test time has a window of its own; training draws one.
train_spectrogram = dict(
    type='LogMelSpectrogram', num_frames=1024, position='random'
)
val_spectrogram = dict(type='LogMelSpectrogram', num_frames=1024, position=0.5)
test_spectrogram = dict(
    type='LogMelSpectrogram', num_frames=1024, position='views'
)
mask_spectrogram = dict(type='MaskSpectrogram', time=70, freq=20, num_masks=2)
# Seconds from the start of the clip, also where it is cut from a long file.
frame_times = dict(type='FrameTimes', origin='clip')
pack_with_sound = dict(
    type='PackAudioVisual',
    meta_keys=('img_shape', 'filename', 'clip_id', 'has_audio'),
)
