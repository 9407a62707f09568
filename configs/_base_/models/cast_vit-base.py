# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, ViT-B/16: appearance (CLIP) and motion (VideoMAE).

One B-CA in every layer joins the two.  45 M of 217 M parameters are trained:
adapters, links, final norms and head.
"""

model = dict(
    type='MultiExpertRecognizer',
    backbone=dict(
        type='MultiExpertBackbone',
        experts=dict(
            spatial=dict(
                type='CLIPExpert',
                num_frames=8,
                frame_stride=2,  # one frame per tubelet of VideoMAE
                drop_path_rate=0.2,
                init_cfg=dict(
                    type='Pretrained',
                    checkpoint='zoo://clip_vit-base-p16_openai',
                ),
            ),
            temporal=dict(
                type='VideoMAEExpert',
                num_frames=16,
                drop_path_rate=0.2,
                # The released models start from fine-tuned weights; the
                # paper's text says pre-trained (`-k400-pre`).
                init_cfg=dict(
                    type='Pretrained',
                    checkpoint='zoo://videomae_vit-base-p16_k400-ft',
                ),
            ),
        ),
        inputs=dict(spatial='imgs', temporal='imgs'),
        links=[
            dict(
                type='BottleneckCrossAttention',
                # The axis along which each expert attends to the other.
                between=('spatial', 'temporal'),
                axes=('time', 'space'),
                ratio=0.5,
                num_heads=12,
                drop_path_rate=0.2,
            ),
        ],
        missing_inputs='raise',
    ),
    cls_head=dict(
        type='FusionHead',
        num_classes=400,
        in_channels=dict(spatial=768, temporal=768),
        adapters=dict(
            spatial=dict(type='Adapter'),
            temporal=dict(type='Adapter'),
        ),
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='MultiStreamDataPreprocessor',
        preprocessors=dict(
            imgs=dict(
                type='ActionDataPreprocessor',
                format_shape='NCTHW',
                # ImageNet statistics for all experts, CLIP included.
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
            ),
        ),
        # Unknown of ActivityNet, where it is our choice.
        blending=dict(type='MultiStreamBlending', alpha=0.8, prob=0.9),
    ),
    # Our choice: about 0.8 GB in float32 (docs/benchmarks.md).
    test_cfg=dict(max_testing_views=8),
)
