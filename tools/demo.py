# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The whole story on the embedded toy world: ``python tools/demo.py``.

Makes the data, trains the three experts on the factor each is meant for,
freezes them, trains CA2ST on top, tests it, tests it again with shuffled
sound, and predicts one clip.  ``--compare`` trains all six models and draws
each beside its ceiling.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from ca2st_mm.visualization.toy_report import (
    accuracy_from_dump,
    ceilings,
    draw_comparison,
    draw_prediction,
    format_table,
)

ROOT = Path(__file__).resolve().parents[1]
DATA = Path('data/toy')
WORK = Path('work_dirs/toy')
EXPERTS = ('clip_shape', 'videomae_direction', 'ast_pitch')
MODELS = ('clip', 'videomae', 'ast', 'cast', 'cava', 'ca2st')
SHUFFLED = 'test_dataloader.dataset.ann_file=test_shuffled_sound.csv'


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--compare',
        action='store_true',
        help='train all six toy models and compare them with their ceilings',
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--fresh', action='store_true', help='train the experts again'
    )
    return parser.parse_args()


def run(title: str, *command: str) -> None:
    """Run one of our tools; show its progress, keep its whole log.

    Raises:
        SystemExit: If the tool fails; the end of its log is shown.
    """
    print(f'\n== {title}\n   python {" ".join(command)}', flush=True)
    start, lines = time.perf_counter(), []
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if 'Epoch(' in line:
                print('   ' + line.split(' - INFO - ')[-1].strip(), flush=True)
    if process.returncode:
        sys.stdout.writelines(lines[-30:])
        raise SystemExit(f'{title}: failed, see above')
    print(f'   {time.perf_counter() - start:.0f} s', flush=True)


def make_data() -> None:
    """Write the toy clips, unless they are there."""
    if (ROOT / DATA / 'classes.txt').exists():
        print(f'== toy data: {DATA} is there')
        return
    run('make the toy data', 'tools/data/make_toy.py', str(DATA))


def train_experts(seed: int, fresh: bool) -> None:
    """Train every expert on its own factor, unless it is there."""
    for name in EXPERTS:
        if fresh or not (ROOT / WORK / name / 'expert.pth').exists():
            config = f'configs/toy/experts/{name}.py'
            run(
                f'train the expert {name}',
                *('tools/train.py', config, '--seed', str(seed)),
            )


def train_model(name: str, seed: int) -> Path:
    """Train one model on all classes; its last checkpoint."""
    config = f'configs/toy/{name}_toy.py'
    run(f'train {name}', 'tools/train.py', config, '--seed', str(seed))
    pointer = ROOT / WORK / f'{name}_toy' / 'last_checkpoint'
    return Path(pointer.read_text().strip())


def test_model(name: str, checkpoint: Path, *options: str) -> float:
    """Top-1 accuracy of a model on the test clips."""
    kind = 'shuffled' if options else 'test'
    dump = WORK / f'{name}_toy' / f'{kind}.pkl'
    arguments = ['--cfg-options', *options] if options else []
    run(
        f'test {name}{" with shuffled sound" if options else ""}',
        'tools/test.py',
        f'configs/toy/{name}_toy.py',
        str(checkpoint),
        *('--dump', str(dump)),
        *arguments,
    )
    return accuracy_from_dump(ROOT / dump)


def predict(checkpoint: Path) -> Path:
    """Predict one test clip with CA2ST; the picture of it."""
    from ca2st_mm import Recognizer

    recognizer = Recognizer.from_pretrained(checkpoint)
    clip = sorted((ROOT / DATA / 'videos').glob('test_*.mp4'))[0]
    [prediction] = recognizer.predict(clip)
    ranked = [(score, name) for name, score in prediction.ranked['label']]
    print(f'\n== predict {clip.relative_to(ROOT)}')
    for score, name in ranked:
        print(f'   {score:6.1%}  {name}')
    picture = ROOT / WORK / 'prediction.png'
    draw_prediction(clip, ranked, picture)
    return picture


def main() -> None:
    """Run the demo and say where everything is."""
    args = parse_args()
    start = time.perf_counter()
    make_data()
    train_experts(args.seed, args.fresh)
    names = MODELS if args.compare else ('ca2st',)
    results = {}
    for name in names:
        checkpoint = train_model(name, args.seed)
        results[name] = test_model(name, checkpoint)
    results['ca2st, shuffled sound'] = test_model(
        'ca2st', checkpoint, SHUFFLED
    )
    picture = predict(checkpoint)
    bounds = ceilings()
    table = format_table(results, bounds)
    report = ROOT / WORK / ('comparison.json' if args.compare else 'demo.json')
    report.write_text(
        json.dumps(
            {n: dict(top1=v, ceiling=bounds[n]) for n, v in results.items()},
            indent=2,
        )
    )
    chart = report.with_suffix('.png')
    draw_comparison(results, bounds, chart)
    print(f'\n{table}\n')
    for what, path in (
        ('results', report),
        ('chart', chart),
        ('prediction', picture),
        ('logs and checkpoints', ROOT / WORK),
    ):
        print(f'{what:>22}: {path.relative_to(ROOT)}')
    print(f'{"time":>22}: {time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
    main()
