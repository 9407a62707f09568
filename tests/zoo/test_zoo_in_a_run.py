# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A config names weights of the zoo: fetched before the run, then loaded."""

from pathlib import Path

import pytest
import torch
from file_server import Served, entry, sha256, source
from mmengine.config import Config
from mmengine.runner import load_checkpoint

from ca2st_mm.checkpoints.files import write_checkpoint
from ca2st_mm.engine.preflight import MissingFileError, check_files
from ca2st_mm.zoo import ZooError, catalogue


@pytest.fixture
def served(server, home, monkeypatch, tmp_path):
    """A linear layer in the zoo, under the name ``line``."""
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / 'line.pth')
    body = (tmp_path / 'line.pth').read_bytes()
    server.files['/line.pth'] = Served(body)
    line = entry(source(f'{server.url}/line.pth', sha256(body)), name='line')
    monkeypatch.setattr(catalogue, '_catalogue', lambda: {'line': line})
    return server.files['/line.pth']


def config(**extra):
    weights = dict(type='Pretrained', checkpoint='zoo://line')
    return Config(dict(model=dict(backbone=dict(init_cfg=weights)), **extra))


def test_mmengine_loads_zoo_addresses(served, tmp_path):
    layer = torch.nn.Linear(2, 1)
    load_checkpoint(layer, 'zoo://line')
    expected = torch.load(tmp_path / 'line.pth')
    torch.testing.assert_close(layer.weight.data, expected['weight'])


def test_preflight_fetches(served, server, home):
    check_files(config())
    assert (home / 'line' / 'line.pth').is_file()
    check_files(config())
    assert len(server.asked) == 1


def test_testing_needs_the_checkpoint_alone(served, server):
    check_files(config(), 'test')
    assert server.asked == []
    check_files(config(load_from='zoo://line'), 'test')
    assert len(server.asked) == 1


def test_missing_data_stops_before_a_download(served, server):
    loader = dict(dataset=dict(ann_file='gone.csv'))
    with pytest.raises(MissingFileError, match='a file is missing: gone.csv'):
        check_files(config(train_dataloader=loader))
    assert server.asked == []


def test_run_stops_if_weights_cannot_be_had(served, server, home):
    served.status = 404
    with pytest.raises(MissingFileError) as caught:
        check_files(config())
    message = str(caught.value)
    assert message.startswith('Cannot start, a file is missing: zoo://line (')
    assert f'{server.url}/line.pth (404 Not Found)' in message
    assert f'put it into {home / "line"} under its own name' in message
    assert '--cfg-options model.backbone.init_cfg.checkpoint=PATH' in message
    assert '\n' not in message


def test_wrong_name_stops_the_run(served):
    with pytest.raises(MissingFileError, match='zoo://lime .*mean line'):
        check_files(Config(dict(load_from='zoo://lime')), 'test')


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('name', ['ca2st/ca2st_k400', 'experts/ast_vggsound'])
def test_all_weights_of_a_config_are_named_at_once(home, monkeypatch, name):
    monkeypatch.setenv('CA2ST_MM_OFFLINE', '1')
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    weights = {
        expert.init_cfg.checkpoint
        for expert in cfg.model.backbone.get(
            'experts', {'': cfg.model.backbone}
        ).values()
    }
    with pytest.raises(MissingFileError) as caught:
        check_files(Config(dict(model=cfg.model)))
    message = str(caught.value)
    assert all(f'{address} (' in message for address in weights)
    assert message.count('by hand') == len(weights)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_mmengine_loads_web_addresses(server, home, tmp_path, suffix):
    layer, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    path = tmp_path / f'line{suffix}'
    write_checkpoint(path, layer.state_dict())
    name = f'line-{sha256(path.read_bytes())[:8]}{suffix}'
    server.files[f'/{name}'] = Served(path.read_bytes())
    for _ in range(2):
        load_checkpoint(other, f'{server.url}/{name}')
        assert torch.equal(layer.weight, other.weight)
    assert len(server.asked) == 1


def test_a_web_address_with_another_hash_is_refused(server, home):
    server.files['/line-00000000.pth'] = Served()
    with pytest.raises(ZooError, match='line-00000000.pth'):
        load_checkpoint(
            torch.nn.Linear(2, 1), f'{server.url}/line-00000000.pth'
        )


def test_hub_addresses_are_plain_checkpoints_too(server, home, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', server.url)
    with pytest.raises(ZooError, match='/owner/name/resolve/main/line.pth'):
        load_checkpoint(torch.nn.Linear(2, 1), 'hf://owner/name/line.pth')
