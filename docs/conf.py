# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Settings of the site; ``make docs`` builds it into ``build/docs``."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / '_ext')]

from ca2st_mm.version import __version__  # noqa: E402

project = 'ca2st_mm'
copyright = 'ca2st_mm contributors'
version = release = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'repository_pages',
]
exclude_patterns = ['figures/*.py', '_ext']
html_theme = 'furo'
html_title = 'ca2st_mm'

# Anchors as GitHub makes them, so that a link works on both.
myst_heading_anchors = 3

# Attributes of a NamedTuple are described in its docstring already.
napoleon_use_ivar = True
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented_params'
autodoc_preserve_defaults = True
