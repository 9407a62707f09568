# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The metafiles are complete, honest about what is unknown, and readable."""

import re
from pathlib import Path

import modelindex
import pytest
import yaml
from mmengine.config import Config

from ca2st_mm import zoo
from ca2st_mm.checkpoints import SOURCES as SOURCES_WE_READ
from ca2st_mm.zoo import catalogue
from ca2st_mm.zoo.addresses import check_file_name, file_name, plain_url
from ca2st_mm.zoo.tables import document

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ('cast', 'cava', 'ca2st', 'experts')
CONFIGS = {
    path.stem: path.relative_to(ROOT).as_posix()
    for family in FAMILIES
    for path in sorted((ROOT / 'configs' / family).glob('*.py'))
}
ENTRIES = zoo.entries()
SOURCES = [(e.name, s) for e in ENTRIES for s in e.sources]
ZOO_NAMES = re.compile(r'zoo://([\w.-]+)')


def models():
    """The raw models of all metafiles."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for metafile in index['Import']:
        yield from yaml.safe_load((ROOT / metafile).read_text())['Models']


def text_of(config):
    return Config.fromfile(ROOT / config).pretty_text


def test_every_config_has_an_entry():
    named = {e.config for e in ENTRIES if e.role == 'model'} - {None}
    assert named == set(CONFIGS.values())


def test_a_model_is_named_as_its_config_with_the_architecture_inside():
    for entry in ENTRIES:
        if entry.role == 'model' and entry.config:
            family, _, rest = entry.name.split('_', 2)
            stem = f'{family.replace("-", "_")}_{rest}'
            assert Path(entry.config).stem == stem


def test_every_entry_names_a_config_that_is_there():
    for entry in ENTRIES:
        assert entry.config is None or (ROOT / entry.config).is_file(), entry
        assert entry.sources or entry.config, entry


def test_every_metafile_is_in_the_index():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / 'configs').rglob('metafile.yml')
    }
    assert set(index['Import']) == there


def test_config_of_an_expert_uses_its_weights():
    for entry in ENTRIES:
        if entry.role != 'model' and entry.config:
            assert f'zoo://{entry.name}' in text_of(entry.config)


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_weights_that_a_config_names_are_in_the_zoo(config):
    names = ZOO_NAMES.findall(text_of(config))
    assert names
    for name in names:
        assert zoo.find(name).role != 'model'


def test_names_are_unique():
    names = [model['Name'] for model in models()]
    assert len(set(names)) == len(names) == len(ENTRIES)


@pytest.mark.parametrize('name, source', SOURCES)
def test_weights_have_a_licence_and_say_where_they_are(name, source):
    entry = zoo.find(name)
    assert entry.licence in ('MIT', 'BSD-3-Clause', 'CC BY-NC 4.0')
    assert bool(source.address) != bool(source.how)
    assert source.layout in SOURCES_WE_READ
    assert source.file_format
    # Nothing could be fetched here, so nothing may claim that it was.
    assert source.checked == 'never'


@pytest.mark.parametrize(
    'start, licence',
    [
        ('clip_vit', 'MIT'),
        ('videomae_vit', 'CC BY-NC 4.0'),
        ('ast_base', 'BSD-3-Clause'),
        ('cast_*', 'CC BY-NC 4.0'),
    ],
)
def test_licences_of_the_owners(start, licence):
    found = [entry for entry in zoo.entries(f'{start}*') if entry.sources]
    assert found
    assert {entry.licence for entry in found} == {licence}


def test_hash_in_an_address_is_the_recorded_one():
    for _, source in SOURCES:
        in_address = re.findall(r'[0-9a-f]{64}', source.address or '')
        if in_address:
            assert source.sha256 == in_address[0]


def test_weights_of_mim_are_the_first_source():
    for model in models():
        sources = model['Zoo']['Sources']
        first = sources[0].get('Address') if sources else None
        assert model.get('Weights') == (first and plain_url(first))


def test_numbers_stand_with_their_owner():
    for model in models():
        assert 'Results' not in model  # ours: nothing has been measured
    for entry in ENTRIES:
        assert all(number.origin for number in entry.published)


def test_openmmlab_reads_the_metafiles():
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    read = {model.name: model for model in index.models}
    assert set(read) == {entry.name for entry in ENTRIES}
    collections = {collection.name for collection in index.collections}
    for entry in ENTRIES:
        assert read[entry.name].config == entry.config
        assert read[entry.name].in_collection in collections


def test_unknown_name_gets_close_ones():
    with pytest.raises(ValueError, match='clip_vit-base-p16_openai'):
        zoo.find('clip_vit-base-p16')
    with pytest.raises(ValueError, match='weights.py list'):
        zoo.find('zzz')
    assert zoo.find('zoo://ast_base_vggsound').name == 'ast_base_vggsound'


def test_docs_are_up_to_date():
    written = (ROOT / 'docs' / 'zoo.md').read_text()
    assert written == document(ENTRIES), (
        'run: python tools/weights.py table > docs/zoo.md'
    )


def test_docs_do_not_depend_on_a_mirror(monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'https://mirror.example')
    assert 'mirror.example' not in document(ENTRIES)


@pytest.mark.parametrize(
    'name',
    ['', '..', '.', '../up', 'a/b', 'a\\b', '/etc', '-x', 'a b', 'a\n', 3]
    + ['a.lock', 'a.part', 'a.part.json'],
)
def test_name_that_could_escape_is_refused(name):
    with pytest.raises(ValueError, match='no name for a file'):
        check_file_name(name)


@pytest.mark.parametrize(
    'address',
    [
        'https://x.org/',
        'https://x.org/a/..%2fup',
        'https://x.org/a/%2e%2e',
        'hf://a/b/../c/..',
    ],
)
def test_address_whose_file_could_escape_is_refused(address):
    with pytest.raises(ValueError, match='no name for a file'):
        file_name(address)


@pytest.mark.parametrize('address', ['ftp://x/a', 'hf://a/b', 'a.pth', 'hf:'])
def test_address_of_another_form_is_refused(address):
    with pytest.raises(ValueError, match='no address of weights'):
        file_name(address)


GOOD = {
    'Name': 'tiny',
    'Config': 'a.py',
    'Zoo': {
        'Role': 'model',
        'License': 'MIT',
        'Sources': [
            {
                'Address': 'https://x.org/a.pth',
                'Layout': 'some',
                'Format': 'torch',
                'Size': 'unknown',
                'SHA256': 'unknown',
            }
        ],
    },
}


def read(tmp_path, *models):
    (tmp_path / 'model-index.yml').write_text('Import: [metafile.yml]')
    text = yaml.safe_dump({'Models': list(models)})
    (tmp_path / 'metafile.yml').write_text(text)
    return catalogue.read_catalogue(tmp_path / 'model-index.yml')


def changed(**source):
    zoo = GOOD['Zoo']
    sources = [{**zoo['Sources'][0], **source}]
    return {**GOOD, 'Zoo': {**zoo, 'Sources': sources}}


def test_unknown_stays_unknown(tmp_path):
    (source,) = read(tmp_path, GOOD)['tiny'].sources
    assert (source.size, source.sha256) == (None, None)
    assert source.checked == 'never'


@pytest.mark.parametrize(
    'model, words',
    [
        (changed(SHA256='xyz'), 'not a quoted hex number'),
        (changed(SHA256=12345678), 'not a quoted hex number'),
        (changed(SHA256='abc'), '8 to 64 digits'),
        (changed(Sha='abc'), "unknown keys .*'Sha'"),
        (changed(Address='https://x.org/..'), 'no name for a file'),
        ({**GOOD, 'Name': '../tiny'}, 'no name for a file'),
        ({'Name': 'tiny'}, 'KeyError'),
    ],
)
def test_malformed_entry_is_named(tmp_path, model, words):
    with pytest.raises(ValueError, match=words) as caught:
        read(tmp_path, model)
    assert 'metafile.yml' in str(caught.value)
    assert 'tiny' in str(caught.value)


def test_same_name_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'tiny' is there twice"):
        read(tmp_path, GOOD, GOOD)


def test_two_sources_with_one_file_name_are_refused(tmp_path):
    twice = changed()
    twice['Zoo']['Sources'] *= 2
    with pytest.raises(ValueError, match='share a file name'):
        read(tmp_path, twice)


def test_weights_without_a_licence_are_refused(tmp_path):
    bare = changed()
    del bare['Zoo']['License']
    with pytest.raises(ValueError, match='without a License'):
        read(tmp_path, bare)


def test_package_without_metafiles_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, 'PACKAGE', tmp_path / 'ca2st_mm')
    with pytest.raises(FileNotFoundError, match='install ca2st_mm again'):
        catalogue.find_index()
