# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The zoo as tables: columns for a terminal, Markdown for the docs."""

from collections.abc import Sequence

from .catalogue import Entry, Source, browser_url
from .fetching import path

UNITS = ('B', 'KB', 'MB', 'GB')
INTRO = """\
# Model zoo

<!-- Made from the metafiles below configs/ by
     `python tools/weights.py table > docs/zoo.md`; edit those. -->

A config names weights as `zoo://NAME`. They are fetched before the run starts.

<!-- needs: network -->
```shell
python tools/weights.py list            # names, sizes, licences
python tools/weights.py get NAME        # fetch
python tools/weights.py path NAME       # print the path of the file
python tools/weights.py verify          # hash the files on this machine again
python tools/weights.py check           # which sources answer today
```

Files of the Hugging Face Hub are in its own cache (`HF_HOME`, `HF_ENDPOINT`,
`HF_TOKEN` and the other settings of `huggingface_hub` hold); all others are in
`~/.cache/ca2st_mm/weights` (`CA2ST_MM_HOME` names another folder). Files on
Google Drive need `pip install gdown`. `--offline` or `CA2ST_MM_OFFLINE=1` uses
what is on this machine only: fetch elsewhere, and copy the file to
`CA2ST_MM_HOME/NAME/FILE`.

A file is used if it is a checkpoint and has the size and sha256 of the table
below; a file that has not is fetched again. Where no sha256 is public, any
checkpoint is taken.

## Naming weights

These forms are understood by `load_from`, the checkpoint of `tools/test.py`
and all other tools, `init_cfg`, `load_weights`, `get_model(..., pretrained=)`
and `Recognizer.from_pretrained`:

| form | what it is |
| --- | --- |
| `NAME` or `zoo://NAME` | an entry of the table below |
| `path/to/file.pth` | a checkpoint: safetensors, `torch.save`, TorchScript |
| `path/to/model.safetensors.index.json` | a checkpoint in several parts |
| `path/to/folder` | what `save_pretrained` or transformers wrote |
| `owner/name@revision` | `model.safetensors` of a repository on the Hub |
| `hf://owner/name@revision/file` | any file there |
| `https://...` | any file, checked if `#sha256=DIGITS` follows |

`Recognizer.from_pretrained` and `get_model` need no config where the file
carries one, as those of training, of `tools/publish_model.py` and of
`save_pretrained` do:

<!-- needs: time -->
```python
import ca2st_mm

recognizer = ca2st_mm.Recognizer.from_pretrained('work_dirs/cast/epoch_50.pth')
recognizer.save_pretrained('cast-mine', licence='CC BY-NC 4.0')
model = ca2st_mm.get_model('cast-mine')
```

## Loading is strict

A checkpoint with missing or unexpected tensors, other shapes, NaN or infinite
values is an error everywhere. To fine-tune from a model with another head, say
so in the config; what fits is loaded and the rest is listed in the log:

```python
load_from = 'cast_vit-base_k400'
load_strict = False
```

All numbers below are those **of the authors**; we have not measured any.
"""


def listing(found: Sequence[Entry]) -> str:
    """Show entries in aligned columns, one line each."""
    rows = [('name', 'role', 'size', 'licence of the weights', 'here')]
    for entry in found:
        here = path(entry.name) if entry.sources else None
        size = _size(entry.sources[0]) if entry.sources else '-'
        rows.append(
            (
                entry.name,
                entry.role,
                size,
                entry.licence or 'no weights',
                'yes' if here else 'no' if entry.sources else '-',
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(map(str.ljust, row, widths)).rstrip() for row in rows
    )


def document(found: Sequence[Entry]) -> str:
    """Write ``docs/zoo.md``, ended by a line break."""
    parts = [
        INTRO,
        '## Weights\n\n' + _overview([e for e in found if e.sources]),
        '## Configs without weights\n\nTrain them.\n\n'
        + _overview([e for e in found if not e.sources]),
        '## Sources\n\nTried from top to bottom.\n\n' + _sources(found),
    ]
    return '\n'.join(parts)


def _overview(found: Sequence[Entry]) -> str:
    head = ('name', 'role', 'licence of the weights', 'config', 'numbers')
    rows = [
        (
            f'`{entry.name}`',
            entry.role,
            entry.licence or 'no weights',
            f'[config](../{entry.config})' if entry.config else '',
            '<br>'.join(
                f'{n.dataset}, {n.metric}: {n.value} ({n.origin})'
                for n in entry.published
            ),
        )
        for entry in found
    ]
    return _markdown(head, rows)


def _sources(found: Sequence[Entry]) -> str:
    rows = [
        (
            f'`{entry.name}`',
            f'[`{source.url.rpartition("/")[2]}`]({browser_url(source.url)})',
            source.layout,
            _size(source),
            f'`{source.sha256}`' if source.sha256 else 'unknown',
        )
        for entry in found
        for source in entry.sources
    ]
    return _markdown(('name', 'file', 'layout', 'size', 'sha256'), rows)


def _size(source: Source) -> str:
    if source.size is None:
        return source.about or 'unknown'
    amount, unit = float(source.size), 0
    while amount >= 1000 and unit + 1 < len(UNITS):
        amount, unit = amount / 1000, unit + 1
    return f'{amount:.3g} {UNITS[unit]}'


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)
