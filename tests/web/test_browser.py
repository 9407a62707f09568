# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The page in a real browser without a window."""

import shutil
from pathlib import Path

import pytest
import requests

CLIPS = Path(__file__).resolve().parents[3] / 'shared' / 'clips'
BROWSERS = 'chromium', 'chromium-browser', 'google-chrome'
# A camera and a microphone that the browser invents.
FLAGS = (
    '--no-sandbox',
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
)
TIMEOUT = 60_000  # milliseconds; the machine may be busy


@pytest.fixture(scope='module')
def chromium():
    """A browser without a window."""
    api = pytest.importorskip(
        'playwright.sync_api',
        reason='the browser is driven by playwright; pip install playwright',
    )
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f'no browser: none of {", ".join(BROWSERS)} is installed')
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program, args=list(FLAGS)
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address):
    """The page, opened; scripts must not fail and nothing else be fetched."""
    page = chromium.new_page()
    page.set_default_timeout(TIMEOUT)
    failed, fetched = [], []
    page.on('pageerror', lambda error: failed.append(str(error)))
    page.on('request', lambda request: fetched.append(request.url))
    page.goto(address)
    page.wait_for_selector('#examples button')
    yield page
    page.close()
    assert failed == []
    assert all(url.startswith((address, 'blob:', 'data:')) for url in fetched)


def clip(name):
    if not CLIPS.is_dir():
        pytest.skip('../shared/clips is not next to this checkout')
    return str(CLIPS / name)


def answered(page):
    """Wait until the last part of the answer is there."""
    page.wait_for_selector('#attention img, #error:not([hidden])')
    assert page.locator('#error').inner_text() == ''
    assert page.locator('.wait').count() == 0


def test_an_uploaded_clip_is_answered(page, address):
    path = clip('flute_guitar_aac.mp4')
    page.set_input_files('#file', path)
    answered(page)
    assert page.locator('#clip').inner_text() == 'flute_guitar_aac.mp4'
    told = requests.post(
        f'{address}/ask/names',
        Path(path).read_bytes(),
        headers={'Content-Type': 'application/octet-stream'},
        timeout=60,
    ).json()
    names = page.locator('#names .name').all_inner_texts()
    assert names == [best['label'] for best in told['ranked']['label']]
    assert len(page.locator('#names .percent').all_inner_texts()) == 5
    parts = page.locator('#modalities .name').all_inner_texts()
    assert [part.split('\n')[0] for part in parts][:3] == [
        'whole model',
        'video alone',
        'audio alone',
    ]
    assert page.locator('#timeline .spans button').count() == 5
    assert page.locator('#names .strip i.audio').count() >= 1
    assert page.locator('#names .note').all_inner_texts() == told['notes']
    # Each block of the time line leads to its place in the video.
    page.locator('#timeline .spans button').nth(2).click()
    assert page.evaluate("document.querySelector('#player').currentTime") == 4


def test_a_corrupt_clip_is_one_sentence_and_the_next_works(page, tmp_path):
    corrupt = tmp_path / 'corrupted.mp4'
    corrupt.write_bytes(b'\0\0\0\x18ftypmp42' + bytes(1000))
    page.set_input_files('#file', str(corrupt))
    page.wait_for_selector('#error:not([hidden])')
    said = page.locator('#error').evaluate('(e) => e.firstChild.textContent')
    assert said.startswith('corrupted.mp4: it cannot be read (damaged, ')
    assert said.count('.') == 2 and 'Traceback' not in said
    assert not page.locator('#names').is_visible()
    page.set_input_files('#file', clip('arm_wrestling_noaudio.mp4'))
    answered(page)
    assert 'No audio' in page.locator('#names .note').last.inner_text()


def test_a_file_that_is_too_large_is_not_sent(page, tmp_path):
    path = tmp_path / '<img src=x>.mp4'
    path.write_bytes(bytes(3_100_000))
    page.set_input_files('#file', str(path))
    page.wait_for_selector('#error:not([hidden])')
    said = page.locator('#error').inner_text()
    assert said.startswith('<img src=x>.mp4: it has 3.1 MB and this page')


@pytest.mark.slow
def test_a_recording_is_answered(page):
    page.click('#record')
    page.wait_for_selector('#record.on')
    page.wait_for_timeout(1500)  # what is recorded
    page.click('#record')
    answered(page)
    assert page.locator('#clip').inner_text() == 'recording'
    assert page.locator('#names .strip i').count() >= 8


def test_on_a_phone_the_answer_comes_first_and_fits(page):
    page.set_viewport_size(dict(width=390, height=800))
    page.click('#examples button')
    answered(page)
    names, player, figure = (
        page.locator(where).bounding_box()
        for where in ('#names', '#player', '#attention img')
    )
    assert 0 < names['y'] < 200 < names['height'] + names['y'] < player['y']
    assert 0 < figure['x'] and figure['x'] + figure['width'] < 390
    assert page.evaluate('document.body.scrollWidth') <= 390


def test_the_description_is_shown(page, address):
    page.goto(f'{address}/api.html')
    page.wait_for_selector('#paths article')
    assert page.locator('#paths article').count() == 8
    assert page.locator('pre').first.inner_text().startswith('curl -H "Cont')
