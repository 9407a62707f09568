# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST, ViT-B/16: CAST, and an ear.

The audio expert (AST) joins in the last three layers: it exchanges with the
spatial and with the temporal expert.  The links run in list order and each
sees what the earlier ones wrote.  62 M of 320 M parameters are trained.
"""

_base_ = './cast_vit-base.py'

b_ca = dict(
    type='BottleneckCrossAttention',
    ratio=0.5,
    num_heads=12,
    # Our choice, here and for the experts, as CAST and CAVA; the authors' is
    # unknown.
    drop_path_rate=0.2,
)
# From layer 9 or from 0: the authors' code has both, and what the paper used
# is unknown.  Our choice is 9, which their count of operations is made with.
with_sound = dict(b_ca, position='timestamp', start_layer=9)

model = dict(
    backbone=dict(
        experts=dict(
            audio=dict(
                type='ASTExpert',
                spec_size=(1024, 128),  # 10.24 s, AST's own length
                num_time_bins=8,  # as many as tubelets
                drop_path_rate=0.2,
                # Our choice: which file the authors start from is unknown;
                # this one fits their code (stride 10, all of AudioSet).
                init_cfg=dict(
                    type='Pretrained',
                    checkpoint='zoo://ast_base_audioset-10-10',
                ),
            ),
        ),
        inputs=dict(audio='audios'),
        exchange='sequential',
        links=[
            dict(b_ca, axes=dict(spatial='time', temporal='space')),
            dict(with_sound, axes=dict(spatial='all', audio='all')),
            dict(with_sound, axes=dict(temporal='all', audio='all')),
        ],
        # One way down and up per expert and layer, for all of its links.
        share_bottlenecks=True,
        time_encoders=dict(
            imgs=dict(embed_dims=384),  # the width of the bottleneck
            audios=dict(embed_dims=384),
        ),
    ),
    cls_head=dict(
        in_channels=dict(audio=768),
        adapters=dict(
            audio=dict(
                type='Adapter', activation='quick_gelu', zero_init=False
            ),
        ),
    ),
    data_preprocessor=dict(
        preprocessors=dict(
            audios=dict(
                type='ActionDataPreprocessor',
                format_shape='NCHW',
                mean=[-4.2677393],
                std=[9.1379948],  # AST divides by twice AudioSet's deviation
            ),
            imgs_times=dict(type='ActionDataPreprocessor', to_float32=True),
            audios_times=dict(type='ActionDataPreprocessor', to_float32=True),
            audios_present=dict(
                type='ActionDataPreprocessor', to_float32=True
            ),
        ),
    ),
)
