"""What is known of an object without reading it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStat:
    """One object as it was when it was looked at."""

    uri: str
    size_bytes: int
    etag: str
    """Changes when the object does: the store's own tag; of a local file its size and mtime_ns."""
