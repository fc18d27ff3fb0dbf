"""Which vector instructions x264 may use, so that equal input gives equal bytes.

With AVX-512, macroblock-tree of x264 build 165 reads memory that nobody wrote, unless rows fill
its registers: two runs over the same frames then differ. With AVX2 they agree, at the same speed,
and machines with and without AVX-512 agree too.
"""

import functools
import platform
from pathlib import Path

_X264 = ("libx264", "libx264rgb")


def steady_options(encoder: str, options: dict[str, str]) -> dict[str, str]:
    """Return encoder ``options`` with vector instructions held at AVX2 where there are more."""
    if encoder not in _X264 or not has_avx512():
        return options
    params = options.get("x264-params", "")
    return {**options, "x264-params": f"{params}:asm=avx2".removeprefix(":")}


@functools.cache
def has_avx512() -> bool:
    """Whether this processor has AVX-512, as far as Linux tells; elsewhere nothing is held."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        return " avx512f" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
