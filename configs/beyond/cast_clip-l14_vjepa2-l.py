# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST of CLIP-L/14 (timm) and V-JEPA 2-L (transformers) on Kinetics-400.

Not trained: no number is known.  Both have 24 layers of 16 x 16 patches, CLIP
at 224 px and V-JEPA 2 at 256; optimizer and schedule are those of CAST-B.
"""

_base_ = '../cast/cast_k400.py'

model = dict(
    backbone=dict(
        experts=dict(
            # Reads one frame per time step of the video expert: 8 of 16.
            spatial=dict(
                _delete_=True,
                type='TimmExpert',
                model='vit_large_patch14_clip_quickgelu_224.openai',
                input_size=256,  # resized to CLIP's 224 px inside
                drop_path_rate=0.2,
            ),
            temporal=dict(
                _delete_=True,
                type='HFExpert',
                # No revision of it is on record: append @REVISION to pin one.
                model='facebook/vjepa2-vitl-fpc64-256',
                # So that building needs no network.
                config=dict(
                    model_type='vjepa2',
                    hidden_size=1024,
                    num_hidden_layers=24,
                    num_attention_heads=16,
                    crop_size=256,
                ),
                num_frames=16,
                drop_path_rate=0.2,
            ),
        ),
        links=[dict(_base_.model.backbone.links[0], num_heads=16)],
    ),
    cls_head=dict(in_channels=dict(spatial=1024, temporal=1024)),
)

# 256 px instead of 224.
train_pipeline = [
    dict(step, scale=(256, 256)) if step['type'] == 'Resize' else step
    for step in _base_.train_pipeline
]
val_pipeline = [
    dict(step, size=256) if step['type'] == 'ShortSideCrops' else step
    for step in _base_.val_pipeline
]
test_pipeline = [
    dict(step, size=256) if step['type'] == 'ShortSideCrops' else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
