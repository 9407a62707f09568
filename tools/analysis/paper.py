# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The tables of the papers: what is published and what is measured here.

``list`` and ``show`` print rows, configs, costs and what is measured;
``run`` trains and tests what is missing, and resumes where it was stopped;
``table`` prints ours next to the published::

    ca2st report paper list
    ca2st report paper run t1 --world toy --seeds 0 1 2
    ca2st report paper run t1 --gpus 8 -- --amp
    ca2st report paper table t1 --world toy --format md

t1 and t5 to t8 are tables of CAST; cava and ca2st are variants that the
authors' code has, most of them without published numbers.  The world
'benchmark' trains the configs as they are, with the flags of tools/train.py
after ``--``; --precision and --cfg-options among them hold for the test, too.
The world 'toy' trains each row on the toy data set
(``tools/data/make_toy.py``), small enough for a laptop.

``table`` also prints comparisons with other methods as they are published:
t2 (balance, with harmonic means), t9 to t11, vggsound, kinetics_sound and
epic_sounds.  ``--ours NAME=RESULTS.json`` adds results of yours;
``--ours NAME=ek100.json,ssv2=ssv2.json`` says where a top-1 belongs.
"""

import argparse
import csv
import gc
import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, harmonic_mean, stdev

from reports import TOOLS, add_cfg_options, new_parser, whole

HERE = TOOLS / 'analysis'
CONFIGS = TOOLS.parent / 'configs'
WORLDS = ('benchmark', 'toy')
FORMATS = ('md', 'tex', 'png')
# By the columns of paper_rows.csv, the names of the metrics.
METRICS = dict(
    verb='acc/verb_top1',
    noun='acc/noun_top1',
    action='acc/action_top1',
    top1='acc/top1',
)
# These differ in what experts were trained on, which the toy world has not.
WITHOUT_TOY = ('t5', 't6', 't7')
# Computed here from the published accuracies.
HARMONIC = {
    'harmonic mean of ssv2, k400': ('ssv2', 'k400'),
    'harmonic mean of all four': ('verb', 'noun', 'ssv2', 'k400'),
}
EXPERTS = ('clip_shape', 'videomae_direction', 'ast_pitch')


# A line of paper_rows.csv.  Its configs lie in configs/ablations; of several,
# joined by ' + ', the scores of clips are averaged.
Row = dict[str, str]


def read_rows() -> list[Row]:
    """All rows of all tables; what is not published is empty."""
    with open(HERE / 'paper_rows.csv', newline='') as file:
        return list(csv.DictReader(file))


def read_peers() -> list[dict[str, str]]:
    """Published numbers of other methods, a line each."""
    lines = []
    balance = TOOLS / 'visualize/published_cast.csv'
    for path in (balance, HERE / 'paper_peers.csv'):
        with open(path, newline='') as file:
            lines += [{'table': 't2', **x} for x in csv.DictReader(file)]
    return lines


def parse_args() -> argparse.Namespace:
    """The command line."""
    tables = list(dict.fromkeys(row['table'] for row in read_rows()))
    peers = list(dict.fromkeys(line['table'] for line in read_peers()))
    parser = new_parser(__doc__)
    actions = parser.add_subparsers(dest='action', required=True)
    for name, what in dict(
        list='all rows of all tables',
        show='the rows of one table',
        run='train and test what is missing',
        table='print a table, or draw it',
    ).items():
        add = actions.add_parser(name, help=what).add_argument
        if name != 'list':
            known = tables + peers if name == 'table' else tables
            add('table', choices=known, help='table of the papers, e.g. t1')
        add('--world', choices=WORLDS, default='benchmark', help='data')
        add(
            '--out',
            type=Path,
            default=Path('work_dirs/paper'),
            help='folder of all runs; default: work_dirs/paper',
        )
        if name == 'run':
            add(
                '--rows',
                nargs='+',
                metavar='CONFIG',
                help='some configs, as `show` names them',
            )
            add('--seeds', nargs='+', type=int, default=[0], help='each a run')
            add('--data', type=Path, default='data/toy', help='toy data set')
            add('--gpus', type=whole, default=1, help='GPUs of a run')
            # Its former form: flags of train.py without their dashes.
            add('--flags', nargs='+', default=[], help=argparse.SUPPRESS)
        if name == 'table':
            add('--format', choices=FORMATS, default='md', help='default: md')
            add('--file', type=Path, help='where to write')
            add(
                '--ours',
                action='append',
                default=[],
                metavar='NAME=[COLUMN=]RESULTS.json,...',
                help='in a comparison with other methods; may be repeated',
            )
    words = sys.argv[1:]
    end = words.index('--') if '--' in words else len(words)
    args = parser.parse_args(words[:end])
    args.train_flags = words[end + 1 :]
    if args.train_flags and (args.action, args.world) != ('run', 'benchmark'):
        parser.error('flags of tools/train.py are for `run` on a benchmark')
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import get_flops
from combine_results import average_scores, top1_of
from mmengine.config import Config
from paper_toy import expert_config, toy_config
from result_files import named_files

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.datasets.toy import class_names
from ca2st_mm.engine import launch
from ca2st_mm.engine.checkpointing import last_whole_checkpoint
from ca2st_mm.engine.interruption import Interrupted, InterruptionHook
from ca2st_mm.engine.launch import UsageError, run_or_explain
from ca2st_mm.utils.text_files import read_record, write_record
from ca2st_mm.visualization.style import new_figure, save


def cost_of(name: str, out: Path) -> dict[str, float]:
    """Parameters, trained parameters and GMAC of a config, in millions.

    Counting takes a second, so it is kept in ``costs.json``.
    """
    cfg = Config.fromfile(CONFIGS / 'ablations' / f'{name}.py')
    model = repr(cfg.model.to_dict()).encode()
    key = hashlib.sha256(model).hexdigest()[:16]
    path = out / 'costs.json'
    known = read_record(path) if path.exists() else {}
    if key not in known:
        print(f'counting {name}', file=sys.stderr)
        total = get_flops.count(cfg)[-1]
        known[key] = dict(
            parameters=total['parameters'] / 1e6,
            trained=total['trainable'] / 1e6,
            gmac=total['macs'] / 1e9,
        )
        write_record(path, known)
    return known[key]


def folder_of(row: str, world: str, out: Path, seed: int) -> Path:
    """Where a seed of a row, or of one of its configs, is trained."""
    configs = row.split(' + ')
    name = '+'.join(c.replace('/', '_').strip('._') for c in configs)
    return out / world / name / f'seed{seed}'


def measured(row: Row, world: str, out: Path) -> dict[str, list[float]]:
    """Per cent by metric, of all seeds that have been measured."""
    parent = folder_of(row['config'], world, out, 0).parent
    records = [
        read_record(p) for p in sorted(parent.glob('seed*/results.json'))
    ]
    return {
        metric: [100 * r['metrics'][key] for r in records]
        for metric, key in METRICS.items()
        if records and key in records[0]['metrics']
    }


def train_and_test(cfg: Config, folder: Path, seed: int) -> None:
    """Train and test a toy model in this process.

    The last checkpoint is tested, as the authors test theirs; its record and
    the scores of all clips are kept.
    """
    cfg.work_dir = str(folder)
    cfg.randomness = dict(cfg.randomness, seed=seed)
    cfg.load_from = last_whole_checkpoint(cfg.work_dir)
    cfg.resume = cfg.load_from is not None
    dump = dict(type='DumpResults', out_file_path=str(folder / 'scores.pkl'))
    cfg.test_evaluator = [cfg.test_evaluator, dump]
    runner = launch.build_runner(cfg)
    try:
        with InterruptionHook() as interruption:
            runner.register_hook(interruption)
            runner.train()
    except Interrupted as stop:
        raise Interrupted(
            stop.signum, f'stopped; the same command resumes in {folder}'
        ) from stop
    runner.test()
    shutil.copy(Path(runner.log_dir) / 'results.json', folder)
    del runner
    gc.collect()


def train_and_test_benchmark(
    config: Path, folder: Path, seed: int, gpus: int, flags: Sequence[str]
) -> None:
    """Train and test a config as it is, with the tools for that.

    The flags are those of ``tools/train.py``; --precision and --cfg-options
    change what is measured, so the test gets them, too.
    """
    shared = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    shared.add_argument('--precision', help='passed on to the test')
    add_cfg_options(shared)
    found = vars(shared.parse_known_args(flags)[0])
    of_test = ['--precision', found['precision']] * bool(found['precision'])
    if found['cfg_options']:
        of_test += ['--cfg-options', *found['cfg_options']]
    start, launcher = [sys.executable], []
    if gpus > 1:
        start += ['-m', 'torch.distributed.run', f'--nproc-per-node={gpus}']
        launcher = ['--launcher', 'pytorch']

    def call(tool: str, *arguments: object) -> None:
        command = [*start, TOOLS / tool, config, *arguments, *launcher]
        print(*command, flush=True)
        # Ctrl-C reaches the tool as well, which has to save before it ends.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        status = subprocess.run([*map(str, command)]).returncode
        signal.signal(signal.SIGINT, before)
        if status:
            raise UsageError(f'{tool} ended with status {status}, see above')

    place = ('--work-dir', folder, '--seed', seed, '--resume')
    call('train.py', *place, *flags)
    checkpoint = last_whole_checkpoint(str(folder))
    place = ('--work-dir', folder / 'test', '--dump', folder / 'scores.pkl')
    call('test.py', checkpoint, *place, *of_test)
    records = (folder / 'test').glob('*/results.json')
    shutil.copy(max(records, key=lambda path: path.stat().st_mtime), folder)


def run(args: argparse.Namespace) -> None:
    """Measure what is missing of a table."""
    known = dict.fromkeys(
        row['config'] for row in read_rows() if row['table'] == args.table
    )
    if args.world == 'toy' and args.table in WITHOUT_TOY:
        raise UsageError(
            f'{args.table} varies what experts were trained on before, which '
            'the toy world has not; use --world benchmark'
        )
    if unknown := set(args.rows or ()) - set(known):
        raise UsageError(
            f'{args.table} has no row {min(unknown)!r}; it has '
            + ', '.join(known)
        )
    if args.flags:
        args.train_flags += [f'--{flag}' for flag in args.flags]
        print('--flags NAME is now written: -- --NAME', file=sys.stderr)
    experts = args.out / 'toy/experts'
    if args.world == 'toy':
        check_data(args.data, args.out / 'toy/data.json')
        for name in EXPERTS:
            if not (experts / name / 'expert.pth').exists():
                cfg = expert_config(name, args.data)
                train_and_test(cfg, experts / name, 0)
    for seed in args.seeds:
        for row in args.rows or known:
            for name in row.split(' + '):
                folder = folder_of(name, args.world, args.out, seed)
                flags = dict(flags=args.train_flags)
                check_same(folder / 'flags.json', flags, 'with other flags')
                if (folder / 'results.json').exists():
                    continue
                path = CONFIGS / 'ablations' / f'{name}.py'
                print(f'{name}, seed {seed}: {folder}', flush=True)
                if args.world == 'toy':
                    cfg = Config.fromfile(path)
                    cfg = toy_config(cfg, args.data, experts)
                    train_and_test(cfg, folder, seed)
                else:
                    train_and_test_benchmark(
                        path, folder, seed, args.gpus, args.train_flags
                    )
            if ' + ' in row:
                average(row, args.world, args.out, seed)


def check_same(record: Path, facts: dict, what: str) -> None:
    """Refuse results measured otherwise than now; note how, if there are none.

    Raises:
        UsageError: If the record, which lies next to the results, differs.
    """
    if not record.exists():
        write_record(record, facts)
    elif (known := read_record(record)) != facts:
        before = ' '.join(map(str, known.get('flags', ()))) or 'none'
        raise UsageError(
            f'the results in {record.parent} are measured {what} '
            f'({known.get("folder", before)}); name another folder with --out'
        )


def check_data(data: Path, record: Path) -> None:
    """Refuse toy data of another world, and other data than before.

    Raises:
        UsageError: If this data is another, or missing.
    """
    classes = data / 'classes.txt'
    if not classes.exists() or classes.read_text().splitlines() != [
        *class_names()
    ]:
        raise UsageError(
            f'there is no toy data set with labels from both modalities in '
            f'{data}; ca2st data make-toy {data}'
            f'{" --overwrite" * classes.exists()} writes it'
        )
    digest = hashlib.sha256()
    for path in sorted(data.glob('*.csv')):
        digest.update(path.name.encode() + path.read_bytes())
    for path in sorted(data.glob('videos/*')):
        digest.update(f'{path.name} {path.stat().st_size}'.encode())
    facts = dict(folder=str(data), sha256=digest.hexdigest())
    if record.exists():  # the folder may have another name by now
        facts['folder'] = read_record(record)['folder']
    check_same(record, facts, 'on other toy data')


def average(row: str, world: str, out: Path, seed: int) -> None:
    """The ensemble of several models: scores of clips are averaged."""
    folder = folder_of(row, world, out, seed)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        folder_of(name, world, out, seed) / 'scores.pkl'
        for name in row.split(' + ')
    ]
    average_scores(parts, folder / 'scores.pkl')
    metrics = {
        METRICS[task]: value
        for task, value in top1_of(folder / 'scores.pkl').items()
    }
    write_record(folder / 'results.json', dict(metrics=metrics))


def cells_of(values: Sequence[float]) -> str:
    """Mean and, of several seeds, standard deviation."""
    if len(values) < 2:
        return f'{values[0]:.1f}' if values else ''
    return f'{fmean(values):.1f} ± {stdev(values):.1f}'


def lines_of(
    rows: Iterable[Row], world: str, out: Path, costs: bool
) -> list[dict[str, str]]:
    """What is printed of each row, by column."""
    lines = []
    for row in rows:
        ours = measured(row, world, out)
        line = {'': row['table'] + row['part'], 'row': row['name']}
        if costs:
            line['config'] = row['config']
            found = [cost_of(name, out) for name in row['config'].split(' + ')]
            line['trained, M'] = f'{sum(c["trained"] for c in found):.1f}'
            line['GMAC'] = f'{sum(c["gmac"] for c in found):.0f}'
        line['trained, M (paper)'] = row['trained_m']
        for metric in METRICS:
            if row[metric] or metric in ours:
                line[f'{metric} (paper)'] = row[metric]
                line[f'{metric} ({world})'] = cells_of(ours.get(metric, ()))
        if costs:
            line['source (paper)'] = row['source']
        seeds = max(map(len, ours.values()), default=0)
        state = 'not measured'
        if world == 'toy' and row['table'] in WITHOUT_TOY:
            state = 'no toy form'
        line[f'seeds ({world})'] = str(seeds or state)
        lines.append(line)
    columns = list(dict.fromkeys(key for line in lines for key in line))
    columns.sort(key=('source (paper)', f'seeds ({world})').__contains__)
    return [
        {c: line.get(c, '') for c in columns if any(x.get(c) for x in lines)}
        for line in lines
    ]


def comparison(table: str, ours: Sequence[str]) -> list[dict[str, str]]:
    """Lines of other methods, and of ours, each ``NAME=RESULTS.json``."""
    lines = [x for x in read_peers() if x['table'] == table]
    columns = [c for c in lines[0] if any(x.get(c) for x in lines)]
    for name, files in named_files(ours).items():
        line = dict(method=name, source='measured here')
        for text in files.split(','):
            column, _, path = text.rpartition('=')
            metrics = read_record(path).get('metrics', {})
            found = {
                column or metric: f'{100 * metrics[key]:.1f}'
                for metric, key in METRICS.items()
                if isinstance(metrics.get(key), float)
                and (not column or metric == 'top1')
            }
            line |= {c: v for c, v in found.items() if c in columns}
            if not set(found) & set(columns):
                raise UsageError(
                    f'--ours: {path} has {", ".join(found) or "no accuracy"},'
                    f' {table} has the columns {", ".join(columns[2:-1])}; '
                    'NAME=COLUMN=FILE says where a top-1 belongs'
                )
        lines.append(line)
    for line in lines if table == 't2' else ():
        for mean, parts in HARMONIC.items():
            if all(line.get(part) for part in parts):
                values = [float(line[part]) for part in parts]
                line[mean] = f'{harmonic_mean(values):.1f}'
    if table == 't2':
        columns += HARMONIC
    columns.remove('table')
    columns.append(columns.pop(columns.index('source')))
    return [{c: line.get(c) or '' for c in columns} for line in lines]


def caption_of(rows: Sequence[Row], world: str) -> str:
    """Whose the numbers are."""
    ours = dict(
        toy='measured with this package on generated toy clips, not on a '
        'benchmark',
        benchmark='measured with this package',
    )[world]
    found = dict.fromkeys(row['source'] for row in rows)
    sources = '; '.join(filter(None, found))
    paper = f'"paper": top-1 in per cent, from {sources}. ' if sources else ''
    if 'CAST' in sources:
        paper += 'CAST is arXiv 2311.18825. '
    if '' in found:
        paper += "Rows without are variants of the authors' code. "
    return f'{paper}"{world}": {ours}; mean and standard deviation over seeds.'


def as_markdown(lines: Sequence[Mapping[str, str]], caption: str) -> str:
    """A Markdown table."""
    columns = list(lines[0])
    rows = [columns, ['---'] * len(columns), *(x.values() for x in lines)]
    text = '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)
    return f'{text}\n\n{caption}\n'


def as_latex(lines: Sequence[Mapping[str, str]], caption: str) -> str:
    """A table of LaTeX, with the package booktabs."""

    def line(cells: Iterable[str]) -> str:
        escaped = [
            cell.replace('%', r'\%').replace('_', r'\_').replace('±', r'$\pm$')
            for cell in cells
        ]
        return ' & '.join(escaped) + r' \\'

    return '\n'.join(
        [
            r'\begin{table}',
            rf'\begin{{tabular}}{{{"l" * len(lines[0])}}}',
            r'\toprule',
            line(lines[0]),
            r'\midrule',
            *(line(x.values()) for x in lines),
            r'\bottomrule',
            r'\end{tabular}',
            rf'\caption{{{caption}}}',
            r'\end{table}',
            '',
        ]
    )


def draw(lines: Sequence[Mapping[str, str]], caption: str, path: Path) -> None:
    """Draw the table as an image."""
    columns = list(lines[0])
    texts = [columns, *(list(x.values()) for x in lines)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    figure = new_figure(0.08 * sum(widths) + 1, 0.19 * len(texts) + 0.8)
    axes = figure.subplots()
    axes.axis('off')
    table = axes.table(
        texts[1:],
        colLabels=columns,
        colWidths=[w / sum(widths) for w in widths],
        cellLoc='left',
        edges='horizontal',
        loc='upper center',
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    figure.text(0.02, 0.01, caption, fontsize=7, wrap=True)
    save(figure, path)


def main() -> None:
    """Do what the command line says."""
    args = parse_args()
    if args.action == 'run':
        run(args)
        return
    rows = [
        row
        for row in read_rows()
        if args.action == 'list' or row['table'] == args.table
    ]
    if rows:
        if args.action == 'table' and args.ours:
            raise UsageError(
                f'--ours: {args.table} compares with no other methods; `run` '
                'measures its rows'
            )
        costs = args.action != 'table'
        lines = lines_of(rows, args.world, args.out, costs)
        caption = caption_of(rows, args.world)
    else:
        lines = comparison(args.table, args.ours)
        caption = (
            'Top-1 in per cent as published, each from its source; harmonic '
            'means are computed from it.'
        )
    how = 'md' if args.action != 'table' else args.format
    if how == 'png':
        path = args.file or args.out / f'{args.table}.png'
        draw(lines, caption, path)
        print(path)
        return
    text = dict(md=as_markdown, tex=as_latex)[how](lines, caption)
    if args.action == 'table' and args.file:
        args.file.parent.mkdir(parents=True, exist_ok=True)
        args.file.write_text(text)
        print(args.file)
    else:
        print(text, end='')


if __name__ == '__main__':
    run_or_explain(main)
