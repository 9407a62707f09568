# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST of later experts: SigLIP 2, VideoMAE V2 and BEATs.  Not trained.

Links, head and recipe are those of CA2ST on Kinetics-400.
"""

_base_ = '../ca2st/ca2st_k400.py'

model = dict(
    backbone=dict(
        experts=dict(
            spatial=dict(
                _delete_=True,
                type='TimmExpert',
                model='vit_base_patch16_siglip_224.v2_webli',
                num_frames=8,
                frame_stride=2,  # one frame per tubelet of VideoMAE
                drop_path_rate=0.2,
            ),
            temporal=dict(
                init_cfg=dict(
                    checkpoint='zoo://videomaev2_vit-base-p16_k710-distilled'
                ),
            ),
            audio=dict(
                _delete_=True,
                type='BEATsExpert',
                spec_size=(998, 128),  # 10 s
                drop_path_rate=0.2,
                init_cfg=dict(
                    type='Pretrained',
                    checkpoint='zoo://beats_iter3-plus_audioset',
                ),
            ),
        ),
    ),
    data_preprocessor=dict(
        preprocessors=dict(
            audios=dict(mean=[15.41663], std=[2 * 6.55582]),
        ),
    ),
)

load_audio = dict(_base_.load_audio, sample_rate=16000)
spectrogram = dict(type='BEATsSpectrogram', num_frames=998)
times = _base_.frame_times
pack = _base_.pack
train_audio = [times, load_audio, dict(spectrogram, position='random')]
val_audio = [times, load_audio, dict(spectrogram, position=0.5)]
test_audio = [times, load_audio, dict(spectrogram, position='views')]
train_pipeline = [*_base_.train_frames, *train_audio, pack]
val_pipeline = [*_base_.val_frames, *val_audio, pack]
test_pipeline = [*_base_.test_frames, *test_audio, pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
