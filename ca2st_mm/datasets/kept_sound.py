# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Taking the sound of a file over into another one."""

import av


def add_sound(reader, writer):
    """Give a new file a place for the sound of another one.

    Packets are copied where the new container takes them, else decoded and
    encoded as AAC, piece by piece.

    Args:
        reader: The open source.
        writer: The open target, before anything is written to it.

    Returns:
        The stream, None if there is no sound; and the function that fills
        it, which takes the path of the source, the writer and the stream.
    """
    if not reader.streams.audio:
        return None, _no_sound
    sound = reader.streams.audio[0]
    if sound.codec_context.codec.canonical_name in writer.supported_codecs:
        return writer.add_stream_from_template(sound), _copy_sound
    twin = writer.add_stream('aac', rate=sound.rate, layout=sound.layout.name)
    return twin, _recode_sound


def _no_sound(source: str, writer, twin) -> None:
    """Nothing to do for a file without sound."""


def _copy_sound(source: str, writer, twin) -> None:
    """Copy the sound packets of a file."""
    with av.open(source) as reader:
        for packet in reader.demux(reader.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = twin
                writer.mux(packet)


def _recode_sound(source: str, writer, twin) -> None:
    """Decode and encode the sound of a file, piece by piece."""
    with av.open(source) as reader:
        for frame in reader.decode(reader.streams.audio[0]):
            writer.mux(twin.encode(frame))
        writer.mux(twin.encode())
