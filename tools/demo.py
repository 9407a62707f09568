# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The whole method on generated toy videos.

Makes the data in ``data/toy``, trains the three experts on the factor each is
meant for, freezes them, trains CA2ST on top, tests it, tests it again with
shuffled audio, and predicts one clip.  ``--compare`` trains all six models and
draws each with its upper bound.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from common_flags import new_parser


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add(
        '--compare',
        action='store_true',
        help='train all six toy models and compare them with their upper '
        'bounds',
    )
    add('--seed', type=int, default=0, help='of all that is random')
    add('--fresh', action='store_true', help='train the experts again')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from mmengine.fileio import load

from ca2st_mm.datasets.audio import read_audio
from ca2st_mm.datasets.toy import DIRECTIONS, PITCHES, SHAPES
from ca2st_mm.datasets.transforms import LogMelSpectrogram
from ca2st_mm.datasets.video import PyAVReader
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.evaluation.clip_metrics import scores_of
from ca2st_mm.utils.percent import percent
from ca2st_mm.visualization.style import (
    COLORMAP,
    GREY,
    TEAL,
    new_figure,
    save,
    tidy,
)

# Of tools and configs: a checkout, or the installed package.
ROOT = Path(__file__).resolve().parents[1]
DATA = Path('data/toy')
WORK = Path('work_dirs/toy')
EXPERTS = ('clip_shape', 'videomae_direction', 'ast_pitch')
MODELS = ('clip', 'videomae', 'ast', 'cast', 'cava', 'ca2st')
# The best top-1 accuracy of a model that uses all its inputs: what it cannot
# see (order of frames, audio) is left to chance.
UPPER_BOUNDS = {
    'clip': 1 / (len(DIRECTIONS) * len(PITCHES)),
    'videomae': 1 / len(PITCHES),
    'ast': 1 / (len(SHAPES) * len(DIRECTIONS)),
    'cast': 1 / len(PITCHES),
    'cava': 1 / len(DIRECTIONS),
    'ca2st': 1.0,
    'ca2st, shuffled audio': 1 / len(PITCHES),
}


def run(title: str, *command: str) -> None:
    """Run one of our tools; show its progress, keep its whole log.

    Raises:
        SystemExit: If the tool fails; the end of its log is shown.
    """
    shown = f'python {" ".join(command)}'
    if ROOT.name == '.mim':  # in the installed package: its command
        shown = shown.replace('python tools/', 'ca2st ').replace('.py', '', 1)
        shown = shown.replace('data/make_toy', 'data make-toy')
    print(f'\n== {title}\n   {shown}', flush=True)
    start, lines = time.perf_counter(), []
    places = [
        str(ROOT / word) if word.startswith(('tools/', 'configs/')) else word
        for word in command
    ]
    with subprocess.Popen(
        [sys.executable, *places],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if 'Epoch(' in line:
                print('   ' + line.split(' - INFO - ')[-1].strip(), flush=True)
    if process.returncode:
        sys.stdout.writelines(lines[-30:])
        raise SystemExit(f'{title}: failed, see above')
    print(f'   {time.perf_counter() - start:.0f} s', flush=True)


def prepare(seed: int, fresh: bool) -> None:
    """Write the toy clips and train each expert on its own factor, once."""
    if (DATA / 'classes.txt').exists():
        print(f'== toy data: {DATA} is there')
    else:
        run('make the toy data', 'tools/data/make_toy.py', str(DATA))
    for name in EXPERTS:
        if fresh or not (WORK / name / 'expert.pth').exists():
            config = f'configs/toy/experts/{name}.py'
            flags = config, '--seed', str(seed)
            run(f'train the expert {name}', 'tools/train.py', *flags)


def train_model(name: str, seed: int) -> Path:
    """Train one model on all classes; its last checkpoint."""
    config = f'configs/toy/{name}_toy.py'
    run(f'train {name}', 'tools/train.py', config, '--seed', str(seed))
    pointer = WORK / f'{name}_toy' / 'last_checkpoint'
    return Path(pointer.read_text().strip())


def test_model(name: str, checkpoint: Path, *options: str) -> float:
    """Top-1 accuracy of a model on the test clips."""
    kind = 'shuffled' if options else 'test'
    dump = WORK / f'{name}_toy' / f'{kind}.pkl'
    arguments = ['--cfg-options', *options] if options else []
    run(
        f'test {name}{" with shuffled audio" if options else ""}',
        'tools/test.py',
        f'configs/toy/{name}_toy.py',
        str(checkpoint),
        *('--dump', str(dump)),
        *arguments,
    )
    samples = load(str(dump))
    right = [scores_of(s).argmax() == s['gt_label'].item() for s in samples]
    return float(np.mean(right))


def predict(checkpoint: Path) -> Path:
    """Predict one test clip with CA2ST; the figure of it."""
    from ca2st_mm import Recognizer

    recognizer = Recognizer.from_pretrained(checkpoint)
    clip = sorted((DATA / 'videos').glob('test_*.mp4'))[0]
    [prediction] = recognizer.predict(clip)
    ranked = prediction.ranked['label']
    print(f'\n== predict {clip}')
    for name, score in ranked:
        print(f'   {percent(score):>8}  {name}')
    figure = WORK / 'prediction.png'
    draw_prediction(clip, ranked, figure)
    return figure


def draw_prediction(
    clip: Path, ranked: Sequence[tuple[str, float]], path: Path
) -> None:
    """Frames, spectrogram and the best (name, score) of one clip."""
    reader = PyAVReader(str(clip))
    stamps = reader.frame_times
    picks = np.linspace(0, len(stamps) - 1, 8).astype(int)
    frames = reader.read(picks)
    reader.close()
    audio = read_audio(str(clip))
    mels = LogMelSpectrogram(num_mels=64).features(
        audio.waveform, audio.sample_rate
    )
    figure = new_figure(9, 5.2)
    figure.suptitle(clip.name)
    grid = figure.add_gridspec(3, 8, height_ratios=(1.1, 1, 1.2))
    for column, (index, frame) in enumerate(zip(picks, frames, strict=True)):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(frame)
        axes.set_title(f'{stamps[index]:.2f} s', fontsize=8)
        axes.axis('off')
    axes = tidy(figure.add_subplot(grid[1, :]), 'seconds', 'mel band')
    seconds, bands = len(mels) / 100, mels.shape[1]
    extent = (0, seconds, 0, bands)
    axes.imshow(mels.T, COLORMAP, aspect='auto', origin='lower', extent=extent)
    axes = tidy(figure.add_subplot(grid[2, :]), 'score')
    names, scores = zip(*ranked, strict=True)
    colours = [TEAL] + [GREY] * (len(ranked) - 1)
    bars = axes.barh(names, scores, color=colours)
    axes.bar_label(bars, list(map(percent, scores)), padding=3, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)
    save(figure, path)


def draw_comparison(results: Mapping[str, float], path: Path) -> None:
    """Bars of the accuracies, each in front of its upper bound."""
    figure = new_figure(7, 1.2 + 0.45 * len(results))
    label = 'top-1 accuracy on held-out toy clips'
    axes = tidy(figure.subplots(), label)
    names, values = list(results), list(results.values())
    bounds = [UPPER_BOUNDS[name] for name in names]
    axes.barh(names, bounds, 0.7, color=GREY, label='upper bound')
    axes.barh(names, values, 0.35, color=TEAL, label='measured')
    for row, (value, bound) in enumerate(zip(values, bounds, strict=True)):
        text = f'{percent(value)} (upper bound {percent(bound)})'
        place = max(value, bound) + 0.01
        axes.text(place, row, text, va='center', fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.5)
    axes.set_xticks(np.linspace(0, 1, 6))
    figure.legend(loc='outside upper right', ncols=2, frameon=False)
    save(figure, path)


def main() -> None:
    """Run the demo and say where everything is."""
    args = parse_args()
    start = time.perf_counter()
    prepare(args.seed, args.fresh)
    results = {}
    for name in MODELS if args.compare else ('ca2st',):
        checkpoint = train_model(name, args.seed)
        results[name] = test_model(name, checkpoint)
    shuffled = 'test_shuffled_audio.csv'
    if not (DATA / shuffled).exists():
        shuffled = 'test_shuffled_sound.csv'  # its former name
    results['ca2st, shuffled audio'] = test_model(
        'ca2st', checkpoint, f'test_dataloader.dataset.ann_file={shuffled}'
    )
    prediction = predict(checkpoint)
    report = WORK / ('comparison.json' if args.compare else 'demo.json')
    rows = {
        name: dict(top1=value, upper_bound=UPPER_BOUNDS[name])
        for name, value in results.items()
    }
    report.write_text(json.dumps(rows, indent=2))
    draw_comparison(results, report.with_suffix('.png'))
    print(f'\n{"model":<24}{"top-1":>8}{"upper bound":>14}')
    for name, row in rows.items():
        top1, bound = map(percent, (row['top1'], row['upper_bound']))
        print(f'{name:<24}{top1:>8}{bound:>14}')
    print()
    for what, path in (
        ('results', report),
        ('chart', report.with_suffix('.png')),
        ('prediction', prediction),
        ('logs and checkpoints', WORK),
    ):
        print(f'{what:>22}: {path}')
    print(f'{"time":>22}: {time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
    run_or_explain(main)
