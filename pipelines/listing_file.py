"""Listings: text, CSV and Parquet files that name videos.

Text has one entry a line; blank lines and lines that start with ``#`` are passed over. CSV and
Parquet have a column ``uri``, or entries in their first column.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from vgen.errors import ConfigError
from vgen.storage import open_read, read_bytes, stat

LISTING_SUFFIXES = frozenset({".txt", ".csv", ".parquet"})
MAX_LISTING_BYTES = 1 << 28
"""About two million entries."""

_LINE_END = re.compile(r"\r\n|\r|\n")


def read_listing(uri: str) -> list[str]:
    """Return the entries of a listing as they stand there, without empty ones.

    Raises:
        ConfigError: it is too large, not UTF-8, or not what its suffix says.
        StorageError: it cannot be read.
    """
    size_bytes = stat(uri).size_bytes
    if size_bytes > MAX_LISTING_BYTES:
        raise ConfigError(
            f"the listing {uri!r} has {size_bytes} bytes, more than {MAX_LISTING_BYTES}"
        )
    suffix = PurePosixPath(uri).suffix.lower()
    if suffix == ".parquet":
        return [entry for entry in _parquet_entries(uri) if entry]
    try:
        text = read_bytes(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"the listing {uri!r} is not UTF-8: {error.reason}") from error
    if suffix == ".csv":
        return [entry for entry in _csv_entries(uri, text) if entry]
    # Not splitlines, which also breaks at characters that names may hold.
    lines = (line.strip() for line in _LINE_END.split(text))
    return [line for line in lines if line and not line.startswith("#")]


def _csv_entries(uri: str, text: str) -> Iterator[str]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise ConfigError(f"the listing {uri!r} is not CSV: {error}") from error
    if not rows:
        return
    titles = [cell.strip().lower() for cell in rows[0]]
    column = titles.index("uri") if "uri" in titles else 0
    # Without a column called uri, a first row that looks like a path is no header.
    has_header = "uri" in titles or not ("/" in rows[0][0] or "." in rows[0][0])
    yield from (row[column].strip() for row in rows[has_header:] if len(row) > column)


def _parquet_entries(uri: str) -> Iterator[str]:
    try:
        with open_read(uri) as file:
            parquet = pq.ParquetFile(file)
            names = parquet.schema_arrow.names
            if not names:
                raise ConfigError(f"the listing {uri!r} has no column")
            column = "uri" if "uri" in names else names[0]
            if names.count(column) > 1:
                raise ConfigError(f"the listing {uri!r} has several columns called {column!r}")
            kind = parquet.schema_arrow.field(column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise ConfigError(f"column {column!r} of {uri!r} must hold text, it holds {kind}")
            for batch in parquet.iter_batches(columns=[column]):
                yield from (entry for entry in batch.column(0).to_pylist() if entry is not None)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Of damage that the Thrift decoder finds Arrow makes a plain OSError.
        reason = " ".join(str(error).split())
        raise ConfigError(f"the listing {uri!r} is not Parquet: {reason}") from error
