# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA exactly as the authors' code computes and trains it.

Our defaults correct what looks like an oversight; a released checkpoint or an
exact retraining needs each of them as it was.
"""

_base_ = '../cava/cava_vggsound.py'

link = dict(
    _base_.model.backbone.links[0],
    # The code stores these tokens position first and stochastic depth masks
    # the first dimension: it drops token positions, not samples.
    drop_path_unit=dict(spatial='token', audio='token'),
)
model = dict(
    backbone=dict(
        experts=dict(
            spatial=dict(
                drop_path_unit='token',  # likewise
                norm_eps=1e-6,  # CAST and CA2ST have 1e-5
            ),
            audio=dict(
                # Time codes lie time-major on frequency-major tokens.
                clock='transposed',
                # The pretrained position grid went from 12 to 8 rows and back.
                position_fit='squeeze',
            ),
        ),
        links=[link],
    ),
    # Labels and frames are blended in slightly different ratios.
    data_preprocessor=dict(
        blending=dict(type='ReferenceMultiStreamBlending'),
    ),
)
