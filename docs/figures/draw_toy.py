# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Draw the toy figures of docs/figures.md, after ``make demo-compare``.

``python docs/figures/draw_toy.py`` runs each command of the page once.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ca2st_mm.utils.class_names import read_class_names

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tools/visualize'))
from result_files import read_scores  # noqa: E402

TOY, OUT = Path('work_dirs/toy'), Path('docs/figures')
CLASSES = 'data/toy/classes.txt'
MODELS = dict(CLIP='clip', VideoMAE='videomae', AST='ast', CAST='cast')
MODELS |= dict(CAVA='cava', CA2ST='ca2st')
LINKED = ('CAST', 'CAVA', 'CA2ST')
FACTORS = ('shape', 'direction', 'pitch')
MAX_BYTES = 150_000
CLIP = 'data/toy/videos/test_00000.mp4'


def run(tool: str, *arguments: str) -> None:
    """Run a tool of ours from the root of the repository."""
    command = [sys.executable, f'tools/{tool}.py', *map(str, arguments)]
    subprocess.run(command, check=True, cwd=ROOT)


def dump(name: str) -> str:
    """The dump of a toy model, with its name."""
    return f'{name}={TOY / f"{MODELS[name]}_toy" / "test.pkl"}'


def write_factors(name: str) -> str:
    """Write how often a model gets shape, direction and pitch right."""
    names = read_class_names(str(ROOT / CLASSES))
    words = np.array([text.split() for text in names])
    folder = TOY / f'{MODELS[name]}_toy'
    scores, labels = read_scores(str(ROOT / folder / 'test.pkl')).of(None)
    hits = (words[labels] == words[scores.argmax(1)]).mean(0)
    metrics = dict(zip(FACTORS, hits.tolist(), strict=True))
    metrics['top1'] = float((scores.argmax(1) == labels).mean())
    path = folder / 'factors.json'
    record = dict(metrics=metrics, data=dict(views=[1]))
    (ROOT / path).write_text(json.dumps(record))
    return str(path)


def shrink(path: Path) -> None:
    """Fewer pixels and colours, where a figure is too large for a page."""
    image = Image.open(path).convert('RGB')
    while path.stat().st_size > MAX_BYTES:
        width = min(1000, round(0.9 * image.width))
        image.thumbnail((width, image.height))
        image.quantize(128, kmeans=1).save(path, optimize=True)


def main() -> None:
    """Draw all, then make the files small."""
    three = [dump(name) for name in ('CA2ST', 'CAST', 'CAVA')]
    classes = ['--classes', CLASSES]
    out = [OUT / 'toy_per_class_change.png']
    run('visualize/per_class_change', *three, *classes, '--out', *out)
    records = {name: write_factors(name) for name in MODELS}
    points = [
        f'--model={name}={",".join(f"{path}:{f}" for f in FACTORS)}'
        for name, path in records.items()
    ]
    out = ['--out', OUT / 'toy_balance.png']
    run('visualize/balance', '--axes', *FACTORS, *points, *out)
    out = ['--out', OUT / 'toy_confusion.png']
    run('visualize/confusion', dump('CAST'), *classes, *out)
    folders = [f'{name}={TOY / MODELS[name]}_toy' for name in LINKED]
    run('visualize/curves', *folders, '--out', OUT / 'toy_curves.png')
    shown = [dump(name) for name in ('VideoMAE', 'CAST', 'CA2ST')]
    out = ['--clips', '3', '--out', OUT / 'toy_sheet.png']
    run('visualize/sheet', *shown, *classes, *out)
    points = []
    for name in LINKED:
        config = f'configs/toy/{MODELS[name]}_toy.py'
        cost = TOY / f'{MODELS[name]}_toy' / 'cost.json'
        run('analysis/get_flops', config, '--size', '32', '--json', cost)
        points += ['--model', f'{name}={records[name]}:top1,{cost}']
    out = ['--out', OUT / 'toy_accuracy_cost.png']
    run('visualize/accuracy_cost', *points, *out)
    checkpoint = Path((ROOT / TOY / 'ca2st_toy/last_checkpoint').read_text())
    weights = TOY / 'ca2st_toy' / checkpoint.name
    names = ['temporal_self', 'audio_self']
    run(
        *('visualize/attention', 'configs/toy/ca2st_toy.py', weights, CLIP),
        *('--only', *names, '--out', OUT),
    )
    for name in names:
        (ROOT / OUT / f'{name}.png').replace(
            ROOT / OUT / f'toy_attention_{name}.png'
        )
    for path in (ROOT / OUT).glob('toy_*.png'):
        shrink(path)


if __name__ == '__main__':
    main()
