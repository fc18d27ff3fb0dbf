"""Where a command may read and write, judged before it starts anything."""

import os
from pathlib import PurePosixPath

from pipelines.listing import VIDEO_SUFFIXES, finds_outputs, is_glob
from vgen import storage
from vgen.errors import ConfigError


def check_apart(source: str, destination: str) -> None:
    """Refuse a destination that holds the source or lies in it.

    A glob is judged by the files it finds, and refused if they would be outputs the next time.

    Raises:
        ConfigError: they lie within each other.
    """
    if is_glob(source):
        if finds_outputs(source, destination):
            raise ConfigError(
                f"SOURCE {source!r} would find the outputs in DESTINATION {destination!r}; "
                "choose a destination outside"
            )
        return
    place = storage.normalize_uri(source)
    if storage.contains(place, destination) or storage.contains(destination, place):
        raise ConfigError(
            f"SOURCE {place!r} and DESTINATION {destination!r} lie within each other; "
            "choose a destination outside"
        )


def check_destination(destination: str, *, is_dry: bool) -> None:
    """Refuse a destination that cannot be written, or for a dry run not even looked at.

    A dry run makes nothing, and a local folder that is not there yet is fine for it.

    Raises:
        ConfigError: with the reason and the remedy.
    """
    try:
        destination.encode()
    except UnicodeEncodeError as error:
        # Plans, manifests and reports name outputs, and JSON cannot hold such a name.
        raise ConfigError(f"the name {destination!r} is not UTF-8; choose another one") from error
    if storage.is_local(destination) and os.path.isfile(destination):  # noqa: PTH113  ever an answer
        raise ConfigError(f"DESTINATION {destination!r} is a file; name a folder")
    if _ends_like_a_video(destination) and not storage.is_folder(destination):
        raise ConfigError(
            f"DESTINATION {destination!r} is named like a video; name the folder for the outputs"
        )
    is_there = os.path.exists(destination)  # noqa: PTH110  the other raises for odd names
    if is_dry and storage.is_local(destination) and not is_there:
        return
    storage.check_reachable(destination, writable=not is_dry)


def _ends_like_a_video(destination: str) -> bool:
    return PurePosixPath(destination).suffix.lower() in VIDEO_SUFFIXES
