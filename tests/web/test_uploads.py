# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What is taken from strangers, and what is not."""

import shutil

import av
import numpy as np
import page_server  # noqa: F401  skips without the packages of the page
import pytest

from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.media_writer import audio_pieces
from ca2st_mm.web import uploads
from ca2st_mm.web.uploads import (
    HEAD,
    ClipError,
    check_clip,
    suffix_of,
)


@pytest.mark.parametrize(
    'content',
    [
        b'#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n',
        b'ffconcat version 1.0\nfile /etc/passwd\n',
        b'<?xml version="1.0"?><MPD></MPD>',
        b'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\n',
        b'PK\x03\x04 a checkpoint of torch',
        b'\x80\x04\x95 a pickle',
        b'RIFF\x00\x00\x00\x00WAVEfmt ',
        b'G' * 189,
        b'short',
    ],
)
def test_what_is_no_container_of_video_is_refused(content):
    with pytest.raises(ClipError, match='no video that this page reads'):
        suffix_of(content[:HEAD])


@pytest.mark.parametrize(
    'form', 'mp4 mov mkv webm avi mpg ts flv wmv ogv'.split()
)
def test_containers_are_told_by_their_first_bytes(form, tmp_path):
    path = tmp_path / f'a.{form}'
    codecs = dict(webm='libvpx', mpg='mpeg1video', ts='mpeg2video')
    codecs |= dict(flv='flv', wmv='wmv2', ogv='libvpx')
    codec = codecs.get(form, 'mpeg4')
    name = {'ogv': 'ogg'}.get(form)
    with av.open(str(path), 'w', format=name) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = 'yuv420p'
        for _ in range(25):
            pixels = np.zeros((64, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    head = path.read_bytes()[:HEAD]
    ending = {'mov': '.mp4', 'webm': '.mkv'}.get(form, f'.{form}')
    assert suffix_of(head) == ending
    extent = check_clip(str(path), 60)
    assert extent.end - extent.start == pytest.approx(1, abs=0.1)


def test_a_long_clip_is_refused_with_both_numbers(media):
    with pytest.raises(ClipError, match=r'lasts 5\.0 s .* takes 4\.5 s'):
        check_clip(media['long'], 4.5)
    assert check_clip(media['long'], 5.5).end == pytest.approx(5, abs=0.02)


def test_huge_frames_are_refused_before_they_are_decoded(media, monkeypatch):
    monkeypatch.setattr(uploads, 'MAX_PIXELS', 32 * 32 - 1)
    with pytest.raises(ClipError, match='32 x 32 pixels'):
        check_clip(media['long'], 60)


def test_audio_alone_is_refused(tmp_path):
    path = tmp_path / 'audio.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=16000)
        stream.layout = 'mono'
        for piece in audio_pieces(np.zeros(16000, np.float32), 16000, 0):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    with pytest.raises(ClipError, match='no video stream'):
        check_clip(str(path), 60)


def test_no_reader_follows_a_playlist(tmp_path, media):
    """The second opinion: FFmpeg knows no playlists here."""
    shutil.copy(media['long'], tmp_path)
    path = tmp_path / 'list.mp4'
    path.write_text('ffconcat version 1.0\nfile long.mkv\n')
    with av.open(str(path)) as followed:
        assert followed.streams.video[0].width == 32
    with pytest.raises(MediaError):
        check_clip(str(path), 60)
    with av.open(str(tmp_path / 'a.gif'), 'w') as container:
        stream = container.add_stream('gif', rate=5, width=16, height=16)
        stream.pix_fmt = 'rgb8'
        pixels = np.zeros((16, 16, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels).reformat(format='rgb8')
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(ClipError, match='no video that this page reads'):
        check_clip(str(tmp_path / 'a.gif'), 60)
