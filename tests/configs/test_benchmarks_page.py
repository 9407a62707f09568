# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The page about benchmarks names what there is."""

import re
from pathlib import Path

from mmaction.registry import METRICS
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/benchmarks.md').read_text()
BASES = ROOT / 'configs/_base_/datasets'


def table_rows():
    """(config, metric) of every row of the first table."""
    for line in PAGE.split('## Numbers')[0].splitlines():
        cells = [cell.strip() for cell in line.split('|')]
        if len(cells) < 8 or '`' not in line:
            continue
        configs = re.findall('`(.*?)`', cells[2])
        metrics = re.findall('`(.*?)`', cells[6])
        full = [
            configs[0].replace('_rgb', name) if name[0] == '_' else name
            for name in configs
        ]
        yield full, metrics


def test_every_config_is_on_the_page_with_its_metric():
    named = {}
    for configs, metrics in table_rows():
        for place, name in enumerate(configs):
            named[name] = metrics[min(place, len(metrics) - 1)]
    actual = {
        path.stem: Config.fromfile(path).test_evaluator.metric.type
        for path in BASES.glob('*.py')
        if not path.stem.startswith(('toy', 'common'))
        and not path.stem.endswith(('_labels', '_images'))
    }
    assert named == actual


def test_what_the_page_names_exists():
    for name in re.findall(r'`(\w+(?:Metric|Submission))`', PAGE):
        assert name in METRICS
    for path in re.findall(r'(tools/\S+\.py)', PAGE):
        assert (ROOT / path).exists()
