# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The metafiles are complete, agree with what hosts list, and are readable."""

import re
import runpy
from pathlib import Path

import modelindex
import pytest
import yaml
from mmengine.config import Config
from tool_runs import run_tool

from ca2st_mm import zoo
from ca2st_mm.checkpoints import LAYOUTS
from ca2st_mm.zoo import catalogue
from ca2st_mm.zoo.catalogue import Source, listing

ROOT = Path(__file__).resolve().parents[2]
FACTS = ROOT.parent / 'shared' / 'reference' / 'weights.md'
FAMILIES = ('cast', 'cava', 'ca2st', 'experts')
CONFIGS = {
    path.stem: path.relative_to(ROOT).as_posix()
    for family in FAMILIES
    for path in sorted((ROOT / 'configs' / family).glob('*.py'))
    if not path.stem.endswith('_as_released')  # variants of another
}
browser_url = runpy.run_path(ROOT / 'tools' / 'weights.py')['browser_url']
ENTRIES = zoo.entries()
SOURCES = [s for e in ENTRIES for s in e.sources]
ZOO_NAMES = re.compile(r'zoo://([\w.-]+)')


def models():
    """The raw models of all metafiles."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for metafile in index['Import']:
        yield from yaml.safe_load((ROOT / metafile).read_text())['Models']


def text_of(config):
    return str(Config.fromfile(ROOT / config).to_dict())


def test_every_url_stands_in_the_listing_and_every_row_is_used():
    urls = [source.url for source in SOURCES]
    assert set(urls) == set(listing())


def test_files_of_the_hub_are_pinned():
    for source in SOURCES:
        if source.hub or 'huggingface.co' in source.url:
            # By a revision, or at least by what the file must be.
            pinned = re.match(
                r'hf://[^@/]+/[^@/]+@[0-9a-f]{7,40}/', source.url
            )
            assert pinned or len(source.sha256 or '') == 64, source


@pytest.mark.skipif(not FACTS.exists(), reason='needs ../shared')
def test_the_listing_agrees_with_the_facts():
    facts = FACTS.read_text().replace(',', '')
    for source in listing().values():
        assert source.sha256 is None or source.sha256 in facts, source
        if isinstance(source.size, int):
            assert str(source.size) in facts, source
        if source.url.startswith('hf://'):
            match = catalogue.HUB_URL.fullmatch(source.url)
            repository, revision, file = match.groups()
            name = repository.split('/')[1]
            assert all(p in facts for p in (name, revision or '', file))
        elif source.url.startswith('gdrive://'):
            assert source.url.split('/')[2] in facts, source


def test_every_config_has_an_entry_named_after_it():
    named = {e.config: e.name for e in ENTRIES if e.role == 'model'}
    assert set(named) == set(CONFIGS.values())
    for config, name in named.items():
        without_size = re.sub('_(vit-)?base', '', name)
        assert Path(config).stem == without_size.replace('-', '_')


def test_entries_have_weights_or_a_config_that_is_there():
    # None is lost to another of its name.
    assert [entry.name for entry in ENTRIES] == [m['Name'] for m in models()]
    for entry in ENTRIES:
        files = [source.file for source in entry.sources]
        assert len(set(files)) == len(files), entry
        assert entry.licence or not files, entry
        assert entry.config is None or (ROOT / entry.config).is_file(), entry
        assert entry.sources or entry.config, entry
        if entry.role != 'model' and entry.config:
            assert f'zoo://{entry.name}' in text_of(entry.config)
        assert all(number['Origin'] for number in entry.published)


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_weights_that_a_config_names_are_in_the_zoo(config):
    names = ZOO_NAMES.findall(text_of(config))
    assert names
    assert all(zoo.find(name).role != 'model' for name in names)


def test_layouts_are_read_but_for_weights_no_expert_reads():
    unread = {
        source.layout
        for entry in ENTRIES
        for source in entry.sources
        if 'no expert reads' not in entry.role
    } - set(LAYOUTS)
    assert not unread


def test_openmmlab_reads_the_metafiles_and_the_first_source():
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    assert {m.name for m in index.models} == {e.name for e in ENTRIES}
    collections = {collection.name for collection in index.collections}
    assert {m.in_collection for m in index.models} <= collections
    for model in models():
        sources = model['Zoo']['Sources']
        if 'Weights' in model:
            url = browser_url(Source(sources[0]['URL']))
            assert model['Weights'] == url
        assert 'Results' not in model  # ours: nothing has been measured
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    there = (ROOT / 'configs').rglob('metafile.yml')
    assert set(index['Import']) == {
        path.relative_to(ROOT).as_posix() for path in there
    }


def test_unknown_name_gets_close_ones():
    with pytest.raises(ValueError, match='clip_vit-base-p16_openai'):
        zoo.find('clip_vit-base-p16')
    with pytest.raises(ValueError, match='weights list'):
        zoo.find('zzz')
    assert zoo.find('zoo://ast_base_vggsound').name == 'ast_base_vggsound'


def test_docs_are_up_to_date(monkeypatch, capsys):
    monkeypatch.setenv('HF_ENDPOINT', 'https://mirror.example')
    assert run_tool('weights.py', 'table') == 0
    tables = capsys.readouterr().out
    assert (
        (ROOT / 'docs' / 'zoo.md').read_text().endswith(f'-->\n\n{tables}')
    ), 'put what `python tools/weights.py table` prints at its end'


@pytest.mark.parametrize(
    'url',
    [
        'https://x.org/',
        'https://x.org/a/..%2fup',
        'https://x.org/a/%2e%2e',
        'hf://a/b/../c/..',
        'gdrive://id/..',
        'ftp://x/a',
        'a.pth',
        'hf:',
    ],
)
def test_a_url_that_is_none_or_could_escape_is_refused(url):
    with pytest.raises(ValueError, match='no URL of weights'):
        _ = Source(url).file


@pytest.mark.parametrize(
    'url, browser',
    [
        (
            'hf://a/b/c/d.pth',
            'https://huggingface.co/a/b/resolve/main/c/d.pth',
        ),
        ('hf://a/b@1f/d.pth', 'https://huggingface.co/a/b/resolve/1f/d.pth'),
        ('gdrive://id/d.pth', 'https://drive.google.com/uc?id=id'),
        ('https://x.org/d.pth', 'https://x.org/d.pth'),
    ],
)
def test_urls(url, browser):
    assert browser_url(Source(url)) == browser
    assert Source(url).file == 'd.pth'


@pytest.mark.parametrize(
    'source, form',
    [
        ('ast_audioset', 'zoo://ast_audioset'),
        ('a/b', 'hf://a/b'),
        ('hf:a/b@1', 'hf://a/b@1'),
        ('hf://a/b@1/c.bin', 'hf://a/b@1/c.bin'),
        ('local-dir:a/b', 'a/b'),
        ('a/b.pth', 'a/b.pth'),
        ('timm:vit', 'timm:vit'),
    ],
)
def test_every_form_of_a_name(source, form):
    assert zoo.canonical(source) == form
