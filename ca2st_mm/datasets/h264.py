# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What H.264 in mp4 and mkv says of its frames (ITU-T H.264, 7.3)."""

# Their header begins with the form of the colours.
_HIGH_PROFILES = 100, 110, 122, 244, 44, 83, 86, 118, 128


def may_hold_fields(header: bytes | None) -> bool:
    """Whether a packet may be one field, half of a frame.

    The first unit of the header says whether all pictures are whole frames.
    """
    if not header or header[0] != 1:
        return True
    unit = header[8:].replace(b'\0\0\3', b'\0\0')
    bits = iter(''.join(f'{byte:08b}' for byte in unit[4:]))

    def bit() -> bool:
        return next(bits) == '1'

    def number() -> int:
        """The next number in Exp-Golomb code."""
        zeros, value = 0, 1
        while not bit():
            zeros += 1
        for _ in range(zeros):
            value = 2 * value + bit()
        return value - 1

    try:
        number()  # identifier
        if unit[1] in _HIGH_PROFILES:
            if number() == 3:  # colour at full size, perhaps in planes
                bit()
            number()  # bits of a value
            number()
            bit()
            if bit():  # scaling matrices, too long to follow
                return True
        number()  # of frames
        order = number()
        if order == 0:
            number()
        elif order == 1:
            bit()
            number()
            number()
            for _ in range(number()):
                number()
        number()  # reference frames
        bit()
        number()  # width
        number()  # height
        return not bit()
    except (StopIteration, IndexError):  # damaged
        return True


def has_idr(packet: memoryview, prefix: int) -> bool:
    """Whether a packet has a slice that resets the decoder.

    Each unit stands after its length of ``prefix`` bytes.
    """
    at = 0
    while at + prefix < len(packet):
        if packet[at + prefix] & 31 == 5:
            return True
        at += prefix + int.from_bytes(packet[at : at + prefix], 'big')
    return False
