# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The table of benchmarks names every recipe, its views and its metric."""

import re

from test_configs import CONFIGS, load
from test_recipes import RECIPES

PAGE = (CONFIGS.parent / 'docs/benchmarks.md').read_text()


def rows():
    """(recipes, views, metric) of each row."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.split('|')]
        names = re.findall('`(ca.*?)`', cells[2]) if len(cells) > 6 else []
        if names:
            yield names, cells[4][:5], cells[6].strip('`')


def test_every_recipe_is_on_the_page_with_its_views_and_metric():
    named = {name for names, *_ in rows() for name in names}
    assert named == {name.split('/')[1] for name in RECIPES}
    for names, views, metric in rows():
        for name in names:
            cfg = load(f'{name.split("_")[0]}/{name}')
            [clips] = [
                step.num_clips
                for step in cfg.test_dataloader.dataset.pipeline
                if 'num_clips' in step
            ]
            assert f'{clips} x 3' == views
            plain = 'ClipAcc' if name[:4] == 'cast' else 'AudioVisualAcc'
            expected = metric or f'{plain}Metric'
            assert cfg.test_evaluator.metric.type == expected
