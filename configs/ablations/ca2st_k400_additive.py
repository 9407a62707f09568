# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST with additive exchange.

All links of a layer read the same tokens and an expert adds the mean of the
updates it receives; in the flagship each link sees what the earlier wrote.
"""

_base_ = '../ca2st/ca2st_k400.py'

model = dict(backbone=dict(exchange='additive'))
