# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The report as one HTML page that needs no other file."""

from html import escape

from .plots import plots_of
from .probe import Probe
from .report import Report
from .samples import KINDS, Fault, Sample

_MAX_ROWS = 500
_MAX_PICTURES = 24

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; color: #1c2330; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top;
  border-bottom: 1px solid #dde2ea; overflow-wrap: anywhere; }
th { background: #f3f5f9; }
.good { color: #14683a; } .bad { color: #a3231b; font-weight: 600; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .8rem; max-width: 128px;
  overflow-wrap: anywhere; }
.plots figure { width: calc(50% - .5rem); }
.plots img { max-width: 100%; }
"""


def as_html(report: Report) -> str:
    """The page.

    Args:
        report: The findings.
    """
    probes = dict(zip(_names(report.samples), report.probes, strict=True))
    body = [
        '<h1>Data check</h1>',
        _verdict(report),
        _splits(report),
        _kinds(report),
        _plots(report),
        _faults(report, probes),
        _gallery(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>Data check</title><style>{_STYLE}</style></head>'
        f'<body>{"".join(body)}</body></html>'
    )


def _names(samples) -> list[tuple]:
    return [(sample.split, sample.path) for sample in samples]


def _verdict(report: Report) -> str:
    count = len(report.faults)
    if not count:
        return '<p class="good">No faults.</p>'
    noun = 'fault' if count == 1 else 'faults'
    return f'<p class="bad">{count} {noun}.</p>'


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A table; cells are HTML already."""
    top = ''.join(f'<th>{cell}</th>' for cell in head)
    body = ''.join(
        '<tr>' + ''.join(f'<td>{cell}</td>' for cell in row) + '</tr>'
        for row in rows
    )
    return f'<table><tr>{top}</tr>{body}</table>'


def _splits(report: Report) -> str:
    rows = [
        [escape(split), str(entry['samples']), f'{entry["hours"]:.2f}']
        for split, entry in report.splits().items()
    ]
    return '<h2>Splits</h2>' + _table(['split', 'samples', 'hours'], rows)


def _kinds(report: Report) -> str:
    rows = [
        [kind, str(count), escape(KINDS[kind])]
        for kind, count in report.counts().items()
    ]
    if not rows:
        return ''
    return '<h2>Kinds of faults</h2>' + _table(
        ['kind', 'count', 'meaning'], rows
    )


def _plots(report: Report) -> str:
    pictures = ''.join(
        f'<figure><img alt="{escape(title)}" '
        f'src="data:image/png;base64,{data}"><br>{escape(title)}</figure>'
        for title, data in plots_of(report)
    )
    return f'<h2>Overview</h2><div class="row plots">{pictures}</div>'


def _faults(report: Report, probes: dict[tuple, Probe]) -> str:
    if not report.faults:
        return ''
    rows = [_fault(f, probes) for f in report.faults[:_MAX_ROWS]]
    more = len(report.faults) - len(rows)
    note = f'<p>{more} more are in the JSON file.</p>' if more else ''
    head = ['', 'kind', 'split', 'file', 'detail']
    return '<h2>Faults</h2>' + _table(head, rows) + note


def _fault(fault: Fault, probes: dict[tuple, Probe]) -> list[str]:
    probe = probes.get((fault.split, fault.path))
    cells = [fault.kind, fault.split, fault.path, fault.detail]
    picture = _picture(probe.thumbnail) if probe else ''
    return [picture, *map(escape, cells)]


def _picture(thumbnail: str) -> str:
    if not thumbnail:
        return ''
    return f'<img alt="" src="data:image/jpeg;base64,{thumbnail}">'


def _gallery(report: Report) -> str:
    """Evenly chosen samples that have a picture."""
    seen = [
        (sample, probe)
        for sample, probe in zip(report.samples, report.probes, strict=True)
        if probe.thumbnail
    ]
    if not seen:
        return ''
    step = max(len(seen) // _MAX_PICTURES, 1)
    figures = ''.join(_figure(*pair) for pair in seen[::step][:_MAX_PICTURES])
    return f'<h2>Some samples</h2><div class="row">{figures}</div>'


def _figure(sample: Sample, probe: Probe) -> str:
    labels = ', '.join(f'{k} {v}' for k, v in sample.labels.items())
    name = escape(sample.path.rsplit('/', maxsplit=1)[-1])
    caption = f'{name}<br>{escape(labels)}, {probe.seconds:.1f} s'
    return (
        f'<figure>{_picture(probe.thumbnail)}'
        f'<figcaption>{caption}</figcaption></figure>'
    )
