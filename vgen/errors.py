"""Every error vgen raises on purpose.

VgenError
|-- ConfigError           a setting is missing, unknown or contradicts another
|-- MediaError            this file cannot be handled; the next one may be fine
|   |-- ProbeError        no usable video stream, no usable timestamps, or over a limit
|   |-- DecodeError       the packets did not yield the frames the timeline promised
|   |-- EnhanceError      the network made no picture of a frame
|   |-- EncodeError       the encoder or container refused the frames or the settings
|   |-- VerifyError       the output does not match the plan
|   `-- UnforeseenError   a fault of vgen's own, met in this file
|-- StorageError          an object is missing, changed under us, or not ours to overwrite
|   |-- MissingError      no object lies at this URI
|   |-- RefusedError      this object may not be read or written; others may
|   |-- DamagedError      an object that vgen wrote is not as it was written
|   `-- FullError         a disk or a quota is used up
`-- ReleaseError          a checkpoint or release does not fit the code or the recipe

A ``MediaError`` fails one video and reaches the report; every other class stops the run.
All of them survive pickling, because they cross process borders inside Ray.
"""


class VgenError(Exception):
    """Base of all deliberate errors; anything else that escapes is a bug."""


class ConfigError(VgenError):
    """A setting is missing, unknown or contradicts another."""


class StorageError(VgenError):
    """An object is missing, changed under us, or not ours to overwrite."""


class MissingError(StorageError):
    """No object lies at this URI."""


class RefusedError(StorageError):
    """This object may not be read or written; others may."""


class DamagedError(StorageError):
    """An object that vgen wrote is not as it was written."""


class FullError(StorageError):
    """A disk or a quota is used up."""


class ReleaseError(VgenError):
    """A checkpoint or release does not fit the code or the recipe."""


class MediaError(VgenError):
    """One source file is at fault; the message says what was expected and what came.

    Args:
        message: One sentence without a full stop.
        uri: The file at fault.
        pts: Where in it, in ticks of the video stream, if known.
    """

    def __init__(self, message: str, *, uri: str, pts: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.uri = uri
        self.pts = pts

    def __str__(self) -> str:
        place = self.uri if self.pts is None else f"{self.uri} at pts {self.pts}"
        return f"{self.message} ({place})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.uri, self.pts)


class ProbeError(MediaError):
    """No usable video stream, no usable timestamps, or a limit is exceeded."""


class DecodeError(MediaError):
    """The packets did not yield the frames the timeline promised."""


class EnhanceError(MediaError):
    """The network made no picture of a frame."""


class EncodeError(MediaError):
    """The encoder or container refused the frames or the settings."""


class VerifyError(MediaError):
    """The output does not match the plan."""


class UnforeseenError(MediaError):
    """A fault of vgen's own, met in this file."""


def _rebuild(kind: type[MediaError], message: str, uri: str, pts: int | None) -> MediaError:
    return kind(message, uri=uri, pts=pts)
