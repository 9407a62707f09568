# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Windows of streams: those of files, in fixed memory, kept together."""

import io
import json
import os
import threading
import time
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest
import soundfile
import torch
from answer_files import AnswerFile
from toy_recognizer import noise, write_noise

from ca2st_mm.apis import streaming
from ca2st_mm.apis.prediction import Failure, Prediction
from ca2st_mm.apis.streaming import predict_stream, stream_windows
from ca2st_mm.apis.windows import Job, windows_of
from ca2st_mm.datasets.faults import MediaError

FPS, RATE, BLOCK = 8, 16000, 1000
WRAP = 2**33 / 90_000  # seconds after which mpegts counts from 0
FORMS = {
    'ts': ('mpegts', 'libx264', 'mp2', {}),
    'live.mkv': ('matroska', 'libx264', 'pcm_s16le', dict(live='1')),
    'frag.mp4': (
        'mp4',
        'libx264',
        'flac',
        dict(movflags='frag_keyframe+empty_moov'),
    ),
    'y4m': ('yuv4mpegpipe', 'wrapped_avframe', None, {}),
}


def write(
    file, form, seconds, start=0.0, video=lambda t: True, audio=lambda t: True
):
    """Write a clip of noise; video and audio where they are asked for."""
    name, codec, audio_codec, options = FORMS[form]
    rng = np.random.default_rng(0)
    with av.open(file, 'w', format=name, options=options) as out:
        images = out.add_stream(codec, rate=FPS)
        if name == 'mpegts':  # as cameras send it; the others have B-frames
            images.options = dict(tune='zerolatency')
        images.width = images.height = 32
        images.pix_fmt = 'yuv420p'
        track = audio_codec and out.add_stream(
            audio_codec, rate=RATE, layout='mono'
        )
        times = [(n / FPS, pixels) for n, pixels in enumerate(noise(seconds))]
        if audio_codec:
            steps = range(0, round(seconds * RATE), BLOCK)
            times += [(n / RATE, None) for n in steps]
        for second, pixels in sorted(times, key=lambda item: item[0]):
            if pixels is None and audio(second):
                wave = rng.uniform(-9000, 9000, (1, BLOCK)).astype(np.int16)
                piece = av.AudioFrame.from_ndarray(wave, 's16', 'mono')
                piece.sample_rate, piece.time_base = RATE, Fraction(1, RATE)
                piece.pts = round((start + second) * RATE)
                out.mux(track.encode(piece))
            elif pixels is not None and video(second):
                frame = av.VideoFrame.from_ndarray(pixels)
                frame.pts = round((start + second) * FPS)
                frame.time_base = Fraction(1, FPS)
                out.mux(images.encode(frame))
        out.mux(images.encode())
        if audio_codec:
            out.mux(track.encode())


class Pipe:
    """Bytes that can be read once."""

    name = 'pipe'

    def __init__(self, content):
        self._file, self.at_its_end = io.BytesIO(content), threading.Event()

    def read(self, size):
        found = self._file.read(size)
        if not found:
            self.at_its_end.set()
        return found


def piped(form, *args, **kwargs):
    """A stream of :func:`write`."""
    file = io.BytesIO()
    file.seekable = lambda: False
    write(file, form, *args, **kwargs)
    return Pipe(file.getvalue())


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('window, stride', [(2, 2), (3, 1.5), (1, 2.5)])
def test_windows_of_a_stream_are_those_of_the_file(
    recognizer, tmp_path, form, window, stride
):
    """To the bit but for mp2, whose decoder dithers."""
    path = tmp_path / f'clip.{form}'
    write(str(path), form, 7.3)
    file = list(windows_of(str(path), window, stride))
    stream = list(stream_windows(Pipe(path.read_bytes()), window, stride))
    assert len(file) == len(stream) > 2
    for a, b in zip(file, stream, strict=True):
        assert (a.start, a.end) == (b.start, b.end)
        assert a.shown['end'] == pytest.approx(b.shown['end'])
        a, b = (
            recognizer.prepare(job.source, job.start, job.end)
            for job in (a, b)
        )
        assert set(a['inputs']) == set(b['inputs'])
        for name, value in a['inputs'].items():
            tolerance = 5e-3 if form == 'ts' and 'audio' in name else 0.0
            torch.testing.assert_close(
                value, b['inputs'][name], rtol=0, atol=tolerance
            )


def test_answers_come_in_time_and_are_those_of_the_file(recognizer, tmp_path):
    path = tmp_path / 'clip.mkv'
    write(str(path), 'live.mkv', 4)
    os.utime(path, (0, 0))  # nothing is added to it
    first, second = recognizer.stream(path, window=2.0, top_k=2)
    whole = str(tmp_path / 'new.mp4')
    write_noise(whole, 4, rate=RATE)  # its index is at its end
    assert len(list(recognizer.stream(whole))) == 2
    assert (first.start, first.end) == (0, 2) and 0 < first.latency < 30
    [expected] = recognizer.predict(str(path), start=2.0, top_k=2)
    np.testing.assert_allclose(
        second.logits['label'], expected.logits['label'], atol=1e-6
    )
    assert len(second.best) == 2


@pytest.mark.parametrize(
    'minutes', [5, pytest.param(60, marks=pytest.mark.slow)]
)
def test_a_long_stream_takes_no_more_than_a_minute(monkeypatch, minutes):
    """Of a stream whose clock starts again every ten seconds."""
    cutters, sizes, resident = [], [], []

    class Watched(streaming._Cutter):
        def __init__(self, *args):
            super().__init__(*args)
            cutters.append(self)

    monkeypatch.setattr(streaming, '_Cutter', Watched)
    content = piped('ts', 10).read(1 << 30)
    source = Pipe(content * 6 * minutes)
    for job in stream_windows(source, 2, 2):
        [cutter] = cutters
        sizes.append((len(cutter.frames), len(cutter.pieces), cutter.bytes))
        with open('/proc/self/statm') as file:
            resident.append(int(file.read().split()[1]) * 4096)
        times = [second for second, _ in job.source.frames]
        assert abs(len(times) - 2 * FPS) <= 1 or job.end is None
        assert job.shown['start'] - 1e-3 <= times[0] <= times[-1]
        audio = job.source.audio
        assert abs(audio.start - job.shown['start']) < 0.2
    assert job.shown['end'] == pytest.approx(60 * minutes, rel=0.01)
    assert np.max(sizes[30:], axis=0).tolist() <= [2 * 16, 64, 1 << 20]
    assert max(resident) - resident[30] < 30 << 20


def test_audio_that_falls_silent_is_noticed_and_comes_back(recognizer):
    source = piped('ts', 30, audio=lambda t: not 6 <= t < 22)
    answers = list(predict_stream(recognizer, source, patience=3.0))
    with_audio = [answer.views.has_audio for answer in answers]
    assert with_audio == [True] * 3 + [False] * 8 + [True] * 4
    assert [bool(a.left_out) for a in answers] == [not h for h in with_audio]


def test_a_silent_modality_is_not_waited_for(monkeypatch):
    """The windows come while the other one goes on, not at the end."""
    source = piped('ts', 30, audio=lambda t: t < 6)
    seen = []
    add = streaming._Cutter._add_frame

    def watched(cutter, frame):
        add(cutter, frame)
        seen.append(cutter.frames[-1][0] if cutter.frames else 0.0)

    monkeypatch.setattr(streaming._Cutter, '_add_frame', watched)
    lags = [
        seen[-1] - job.shown['end']
        for job in stream_windows(source, 2, 2, patience=3.0)
    ]
    assert max(lags) < 4 and max(lags[4:-1]) < 0.5


def test_video_that_falls_silent_is_noticed_and_comes_back(recognizer):
    source = piped('ts', 20, video=lambda t: not 6 <= t < 14)
    answers = list(predict_stream(recognizer, source, patience=2.0))
    came = [isinstance(answer, Prediction) for answer in answers]
    assert came == [True] * 3 + [False] * 4 + [True] * 3
    assert answers[3].reason == 'no frame came in that time'
    starts = [answer.start for answer in answers]
    np.testing.assert_allclose(np.diff(starts), 2.0)


@pytest.mark.parametrize('start', [90_000.0, WRAP - 4])
def test_a_stream_may_start_at_any_second(recognizer, start):
    answers = list(predict_stream(recognizer, piped('ts', 8, start=start)))
    assert [a.views.has_audio for a in answers] == [True] * 4
    np.testing.assert_allclose(np.diff([a.start for a in answers]), 2.0)
    plain = list(predict_stream(recognizer, piped('ts', 8)))
    for a, b in zip(answers, plain, strict=True):
        np.testing.assert_allclose(
            a.logits['label'], b.logits['label'], atol=0.01
        )


def test_a_gap_in_both_is_time_without_frames(recognizer):
    there = dict.fromkeys(('video', 'audio'), lambda t: not 4 <= t < 10)
    answers = list(predict_stream(recognizer, piped('ts', 14, **there)))
    failed = [isinstance(answer, Failure) for answer in answers]
    assert failed == [False] * 2 + [True] * 3 + [False] * 2


def test_a_file_is_read_while_it_grows_and_a_pipe_as_it_comes(tmp_path):
    content = piped('ts', 6).read(1 << 30)
    grown, fifo = tmp_path / 'grown.ts', tmp_path / 'fifo'
    grown.write_bytes(b'')
    os.mkfifo(fifo)
    found = []
    for path in (grown, fifo):

        def append(path=path):
            with open(path, 'ab', buffering=0) as file:
                for first in range(0, len(content), 8192):
                    file.write(content[first : first + 8192])
                    time.sleep(0.01)

        writer = threading.Thread(target=append)
        writer.start()
        found.append(list(stream_windows(str(path), 2, 2, idle=0.5)))
        writer.join()
    a, b = ([job.shown['end'] for job in jobs] for jobs in found)
    assert len(a) == 3 and a == b


def test_windows_of_a_live_source_are_skipped_and_said(
    recognizer, monkeypatch
):
    monkeypatch.setattr(streaming, 'is_live', lambda source: True)
    classify = type(recognizer).classify
    source = piped('ts', 30)

    def slow(*args):
        source.at_its_end.wait(timeout=60)
        return classify(*args)

    monkeypatch.setattr(type(recognizer), 'classify', slow)
    answers = list(predict_stream(recognizer, source, 1.0))
    skipped, *_ = [a for a in answers if isinstance(a, Failure)]
    assert skipped.reason.startswith('skipped, because answers come slower')
    ends, starts = ([getattr(a, k) for a in answers] for k in ('end', 'start'))
    np.testing.assert_allclose(ends[:-1], starts[1:])
    assert ends[-1] - starts[0] == pytest.approx(30, abs=0.1)


def test_models_take_what_they_need(recognizers, tmp_path):
    video_alone = recognizers['alone']
    assert len(list(video_alone.stream(piped('ts', 4)))) == 2
    path = str(tmp_path / 'a.wav')
    soundfile.write(path, np.zeros(5 * RATE), RATE)
    with open(path, 'rb') as file:
        stream = list(stream_windows(file, 2, 2, video=False))
    file = list(windows_of(path, 2, 2))
    assert [job.shown['end'] for job in file] == [2, 4, 5]
    for a, b in zip(file, stream, strict=True):
        assert (a.start, a.end) == (b.start, b.end)
        assert a.shown['end'] == b.shown['end']
        assert len(b.source.audio.waveform) >= RATE
    with pytest.raises(MediaError, match='no video'), open(path, 'rb') as file:
        next(video_alone.stream(file))


def test_who_stops_early_leaves_no_thread(recognizer):
    answers = predict_stream(recognizer, piped('ts', 30), 1.0)
    next(answers)
    answers.close()
    names = [thread.name for thread in threading.enumerate()]
    assert 'stream' not in names


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'Invalid data|End of file'),
        (b'no video' * 1000, 'Invalid data'),
        (
            b'#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n',
            'Invalid data|list of other files',
        ),
    ],
)
def test_what_is_no_stream_is_named(recognizer, content, message):
    with pytest.raises(MediaError, match=f"stream 'pipe': .*{message}"):
        next(predict_stream(recognizer, Pipe(content)))


def test_mp4_that_no_pipe_can_carry_is_named(monkeypatch):
    monkeypatch.setitem(FORMS, 'mp4', ('mp4', 'libx264', 'flac', {}))
    write(file := io.BytesIO(), 'mp4', 2)
    with pytest.raises(MediaError, match='name the file, or send mkv'):
        list(stream_windows(Pipe(file.getvalue()), 1, 1))


@pytest.mark.parametrize(
    'error, message',
    [
        (av.error.InvalidDataError(1, 'damaged'), 'damaged'),
        (av.error.ExitError(1, 'late'), 'nothing has come'),
    ],
)
def test_a_file_of_mp4_is_no_pipe(tmp_path, monkeypatch, error, message):
    write(path := str(tmp_path / 'a.mp4'), 'frag.mp4', 1)
    monkeypatch.setattr(streaming, 'decode', Mock(side_effect=error))
    with pytest.raises(MediaError, match=message):
        list(stream_windows(path, 1, 1, idle=0.0))


def test_sources_that_cannot_be_are_named(recognizer, tmp_path):
    for source in ('webcam:99', str(tmp_path / 'gone')):
        with pytest.raises(MediaError, match=source):
            next(predict_stream(recognizer, source))
    with pytest.raises(MediaError) as caught:
        next(predict_stream(recognizer, 'rtsp://me:secret@127.0.0.1:9/a'))
    assert 'secret' not in str(caught.value)
    with pytest.raises(ValueError, match='above 0'):
        next(predict_stream(recognizer, Pipe(b''), 0.0))


def test_a_window_that_is_too_large_is_one_sentence(monkeypatch):
    [job, *_] = stream_windows(piped('ts', 1), 1, 1)
    size = streaming._bytes_of(job.source.frames[0][1])
    monkeypatch.setattr(streaming, 'MAX_KEPT', 20 * size)
    with pytest.raises(MediaError, match='Take shorter windows'):
        list(stream_windows(piped('ts', 8), 4, 4))
    assert all(
        isinstance(job, Job) for job in stream_windows(piped('ts', 8), 1, 1)
    )


def test_a_file_of_a_stream_keeps_nothing_in_memory(recognizer, tmp_path):
    """Nor does it lose a window, seen or not, when it is continued."""
    failure = Failure('pipe', 4.0, 6.0, 'no frame came in that time')
    for name in ('a.json', 'a.csv'):
        path, settings = str(tmp_path / name), dict(top_k=1)
        with AnswerFile(path, 'model', settings, stream=True) as file:
            for answer in recognizer.stream(piped('ts', 4), top_k=1):
                file.write(answer)
            for second in range(4000):
                file.write(replace(failure, start=4.0 + second))
        written = Path(path).read_text()
        tracemalloc.start()
        with AnswerFile(path, 'model', settings, stream=True) as file:
            assert tracemalloc.get_traced_memory()[1] < 2 * len(written)
            tracemalloc.stop()
            assert not file.rankings
            file.write(failure)
        whole = Path(path).read_text()
        assert whole.startswith(written)
        assert whole.count(failure.reason) == 4001


def test_the_command_writes_a_record_a_line(predict, tmp_path, capsys):
    source, out = tmp_path / 'a.ts', tmp_path / 'out.jsonl'
    write(str(source), 'ts', 4)
    os.utime(source, (0, 0))
    events = [tmp_path / 'stream.csv', tmp_path / 'file.csv']
    flags = ('--stream', source, '--json', out, '--events', events[0])
    assert predict(*flags) == 0
    assert predict(source, '--window', 2, '--events', events[1]) == 0
    (head, *a), (_, *b) = (path.read_text().splitlines() for path in events)
    assert head == 'source,start,end,label,score' and a
    assert [row.split(',')[3] for row in a] == [row.split(',')[3] for row in b]
    assert predict(*flags) == 2  # events of an hour ago are not in memory
    records = [json.loads(line) for line in out.read_text().splitlines()]
    lengths = [record['end'] - record['start'] for record in records]
    assert lengths == pytest.approx([2, 2])
    assert all(record['latency'] > 0 for record in records)
    assert capsys.readouterr().out.count(' s  ') >= 2
    for wrong in (('--batch-size', 2), (source,)):
        assert predict('--stream', source, *wrong) == 2
