# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The notebook runs from its first cell to its last, without Jupyter."""

import json
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / 'docs/notebooks/toy_ca2st.ipynb'
SECONDS = 180  # of CPU time: other work does not count


def cells():
    return json.loads(NOTEBOOK.read_text())['cells']


def test_cells_run_in_order(tmp_path, monkeypatch, capsys, fresh_scope):
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    inner = tmp_path / 'docs'
    inner.mkdir()
    monkeypatch.chdir(inner)  # Jupyter starts next to the notebook
    code = [''.join(c['source']) for c in cells() if c['cell_type'] == 'code']
    assert len(code) > 5
    names = {}
    start = time.process_time()
    for number, source in enumerate(code):
        exec(compile(source, f'cell {number}', 'exec'), names)
    assert time.process_time() - start < SECONDS
    assert Path.cwd() == tmp_path
    # Without `make demo` it predicts with its own few steps, and says so.
    assert 'work_dirs/notebook/few_steps.pth' in capsys.readouterr().out
    assert Image.open('work_dirs/notebook/audio_self.png').width > 300


def test_it_is_stored_without_outputs():
    """What a reader sees came from his machine."""
    assert not any(cell.get('outputs') for cell in cells())
