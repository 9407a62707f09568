# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What headers of H.264 say of its packets (ITU-T H.264, 7.3)."""

_HIGH_PROFILES = 100, 110, 122, 244, 44, 83, 86, 118, 128


def has_idr(packet: memoryview, prefix: int) -> bool:
    """Whether a packet in mp4 has a slice that resets the decoder.

    Args:
        packet: Units (7.3.1), each after its length.
        prefix: Bytes of a length.
    """
    at = 0
    while at + prefix < len(packet):
        if packet[at + prefix] & 31 == 5:
            return True
        at += prefix + int.from_bytes(packet[at : at + prefix], 'big')
    return False


def may_hold_fields(header: bytes | None) -> bool:
    """Whether a packet may be one field, half of a frame.

    Args:
        header: As in mp4 and mkv; its first unit (7.3.2.1.1) says whether
            all pictures are whole frames.
    """
    if not header or header[0] != 1:
        return True
    unit = header[8:].replace(b'\0\0\3', b'\0\0')
    bits, at = ''.join(f'{byte:08b}' for byte in unit[1:]), 24

    def number() -> int:
        """The next number in Exp-Golomb code."""
        nonlocal at
        zeros = bits.index('1', at) - at
        at += 2 * zeros + 1
        return int(bits[at - zeros - 1 : at], 2) - 1

    try:
        number()  # identifier
        if unit[1] in _HIGH_PROFILES:
            if number() == 3:  # colour at full size, perhaps in planes
                at += 1
            number()  # bits of a value
            number()
            at += 1
            if bits[at] == '1':  # scaling matrices, too long to follow
                return True
            at += 1
        number()  # of frames
        order = number()
        if order == 0:
            number()
        elif order == 1:
            at += 1
            number()
            number()
            for _ in range(number()):
                number()
        number()  # reference frames
        at += 1
        number()  # width
        number()  # height
        return bits[at] == '0'
    except (ValueError, IndexError):  # damaged
        return True
