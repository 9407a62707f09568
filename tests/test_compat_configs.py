# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A config that MMEngine wrote is the config that it was given."""

from mmengine.config import Config, config

from ca2st_mm.compat import keep_order_of_configs


def test_a_written_config_keeps_its_order(tmp_path):
    axes = dict(spatial='all', audio='all')
    written = tmp_path / 'written.py'
    Config(dict(model=dict(links=[dict(axes=axes)]))).dump(written)
    (link,) = Config.fromfile(written).model.links
    assert list(link.axes) == ['spatial', 'audio']


def test_the_cure_is_needed_and_leaves_a_mended_package_alone(monkeypatch):
    monkeypatch.delattr(config, 'sorted')
    text = Config(dict(b=1, a=2)).pretty_text
    # Fails once MMEngine is mended: then drop the cure.
    assert text.index('a') < text.index('b')
    mended = property(lambda self: 'b = 1; a = 2')
    monkeypatch.setattr(Config, 'pretty_text', mended)
    keep_order_of_configs()
    assert not hasattr(config, 'sorted')
