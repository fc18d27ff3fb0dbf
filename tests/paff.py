"""A minimal H.264 writer for field pictures, which no encoder at hand can make.

Every macroblock is I_PCM, so no entropy coding of residuals is needed: ITU-T H.264, sections 7.3
and Annex B.
"""

_SIZE_MBS = 2  # a frame of 32 by 64: two macroblocks wide, two high per field


class _Bits:
    def __init__(self) -> None:
        self._bits: list[int] = []

    def u(self, width: int, value: int) -> "_Bits":
        self._bits += [value >> at & 1 for at in reversed(range(width))]
        return self

    def ue(self, value: int) -> "_Bits":
        width = (value + 1).bit_length()
        return self.u(width - 1, 0).u(width, value + 1)

    def align(self) -> "_Bits":
        while len(self._bits) % 8:
            self._bits.append(0)
        return self

    def raw(self, data: bytes) -> "_Bits":
        for byte in data:
            self.u(8, byte)
        return self

    def nal(self, header: int) -> bytes:
        """Close the payload and return it as an Annex B unit, emulation bytes inserted."""
        self.u(1, 1).align()
        out, zeros = bytearray(), 0
        for at in range(0, len(self._bits), 8):
            byte = int("".join(map(str, self._bits[at : at + 8])), 2)
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes([header]) + bytes(out)


def paff_stream(num_frames: int, *, gop: int = 6) -> bytes:
    """Return an Annex B stream of intra frames, each coded as a top and a bottom field."""
    sps = _Bits().u(8, 77).u(8, 0).u(8, 30).ue(0)  # Main profile, level 3
    sps.ue(0).ue(0).ue(0)  # 16 frame numbers, picture order type 0 with 16 values
    sps.ue(1).u(1, 0).ue(_SIZE_MBS - 1).ue(_SIZE_MBS - 1)
    sps.u(1, 0).u(1, 0).u(1, 1).u(1, 0).u(1, 0)  # fields allowed, no MBAFF
    pps = _Bits().ue(0).ue(0).u(1, 0).u(1, 0).ue(0).ue(0).ue(0).u(1, 0).u(2, 0)
    pps.ue(0).ue(0).ue(0).u(1, 0).u(1, 0).u(1, 0)
    headers = sps.nal(0x67) + pps.nal(0x68)
    parts = []
    for frame in range(num_frames):
        parts += [headers] if frame % gop == 0 else []
        parts += [_field(frame, frame % gop, bottom) for bottom in (0, 1)]
    return b"".join(parts)


def _field(frame: int, number: int, bottom: int) -> bytes:
    is_idr = number == 0 and not bottom  # the second field of an IDR picture is an ordinary one
    bits = _Bits().ue(0).ue(7).ue(0).u(4, number).u(1, 1).u(1, bottom)
    if is_idr:
        bits.ue(frame // 2 % 2)
    bits.u(4, (2 * number + bottom) % 16)
    bits.u(2 if is_idr else 1, 0).ue(0)  # reference marking, then no change of quantiser
    for block in range(_SIZE_MBS**2):
        level = 16 + (frame * 13 + block * 29 + bottom * 7) % 200
        bits.ue(25).align().raw(bytes([level]) * 256 + bytes([128]) * 128)
    return bits.nal(0x65 if is_idr else 0x61)
