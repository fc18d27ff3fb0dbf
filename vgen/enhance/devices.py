"""Which device a name means."""

import re

import torch

from vgen.errors import ConfigError

_NAME = re.compile(r"cpu|cuda(:\d{1,3})?")


def find_device(asked: str) -> torch.device:
    """Return the device of that name: cpu, cuda, cuda:N, or auto, which is cuda where there is one.

    Raises:
        ConfigError: no such name, or no such device here.
    """
    found = torch.cuda.device_count()
    if asked != "auto" and not _NAME.fullmatch(asked):
        raise ConfigError(f"a device is cpu, cuda, cuda:N or auto, got {asked!r}")
    device = torch.device(("cuda" if found else "cpu") if asked == "auto" else asked)
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ConfigError(
            f"device {asked!r} was asked for, but torch finds no CUDA device so named"
        )
    return device
