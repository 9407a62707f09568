# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What is unknown of the authors' recipes is marked where it is set."""

import re

import pytest
from test_recipe_numbers import CONFIGS, ROWS

# Tested across data sets, with the recipe of another config.
INHERIT = re.compile('hd_epic')
RECIPE = (
    r"schedules/adamw_\d+e\.py'",
    'blending=',
    'optim_wrapper = ',
    'train_dataloader = ',
)
DROP_PATH = r"models/ca(st|va)_vit-base\.py'"
VIDEOMAE = 'videomae = '
MARKS = {
    name: [
        *RECIPE,
        *([] if name.startswith('ca2st') else [DROP_PATH]),
        *([] if name.startswith('cava') else [VIDEOMAE]),
    ]
    for name, known in ROWS.items()
    if 'lr' not in known and not INHERIT.search(name)
}
AST = r"init_cfg=dict\(\s+type='Pretrained',\s+checkpoint='zoo://ast"
MARKS |= {
    '_base_/models/cava_vit-base': [AST],
    '_base_/models/ca2st_vit-base': [AST, 'start_layer=', 'drop_path_rate='],
}
for kitchen in ('cava/cava_ek100', 'ca2st/ca2st_ek100'):
    MARKS[kitchen].append('spec_size=')


def comment_on(text, pattern):
    """The comment in the lines of a match, or right above it."""
    match = re.search(pattern, text)
    first = text.rfind('\n', 0, match.start()) + 1
    last = text.find('\n', match.end())
    lines = text[first:last].splitlines()
    above = text[:first].splitlines()
    while above and above[-1].lstrip().startswith('#'):
        lines.insert(0, above.pop())
    comments = (line.partition('#')[2].strip() for line in lines)
    return ' '.join(comments).lower()


@pytest.mark.parametrize(
    'name, pattern',
    [(name, pattern) for name, found in MARKS.items() for pattern in found],
)
def test_an_unknown_value_is_marked_where_it_is_set(name, pattern):
    text = (CONFIGS / f'{name}.py').read_text()
    assert 'our choice' in comment_on(text, pattern)


@pytest.mark.parametrize('name', ROWS)
def test_what_is_known_is_not_called_our_choice(name):
    if 'lr' in ROWS[name]:
        text = (CONFIGS / f'{name}.py').read_text().lower()
        assert 'our choice' not in text
