"""What is stated about the licence of training material, and whether that allows training.

``MANIFEST.csv`` in a file's folder states it by the file's name (column ``name``); one in the
folder above states it by the folder's (last part of column ``dir``). Nothing stated is ``""``.
"""

import csv
import io
import re
from collections.abc import Iterable

from vgen.errors import ConfigError
from vgen.storage import exists, join, name_of, parent_of, read_bytes

MANIFEST_NAME = "MANIFEST.csv"
MAX_MANIFEST_BYTES = 1 << 26

# Sought in text whose hyphens are spaces, so that SPDX's names are found too. In lower case MIT
# must stand alone or before "licence", as it is a word of other languages.
_ALLOWED = re.compile(r"\b(?i:CC0|CC BY \d|Apache|BSD)\b|\bMIT\b|^(?i:MIT(?: licen[cs]e)?)$")
# Anywhere: what a sentence denies or forbids of a part may hold for the clip.
_REFUSED = re.compile(
    r"\bN[CD]\b|non ?commercial|no ?deriv|research (?:use|only)"
    r"|\bno licen[cs]e|\bnot\b|GPL|all rights reserved",
    re.IGNORECASE,
)
# Berkeley gives its segmentation set for research alone; networks that saw it say so in their
# cards. What else is stated of it is about the repository it was copied from.
_BERKELEY = re.compile(r"^(?:Berkeley )?BSDS\b")
_UNCLEAR = re.compile(r"not stated|no licence in repo", re.IGNORECASE)


def allows_training(licence: str) -> bool:
    """Whether a stated licence is one under which a network may be trained and released.

    A text in doubt does not allow it: one that speaks of a free licence and of a limit is refused.
    """
    if _BERKELEY.search(licence):
        return not _UNCLEAR.search(licence)
    words = re.sub(r"[\s_-]+", " ", licence).strip()
    return bool(_ALLOWED.search(words)) and not _REFUSED.search(words)


def licences_of(uris: Iterable[str]) -> dict[str, str]:
    """Return what is stated about each file; reads every manifest once.

    Raises:
        ConfigError: a manifest cannot be read as one.
        StorageError: that cannot be told, as the store cannot be reached.
    """
    stated: dict[str, dict[str, str]] = {}
    found = {}
    for uri in uris:
        folder = parent_of(uri)
        above = parent_of(folder)
        for place in (folder, above):
            if place not in stated:
                stated[place] = _read(join(place, MANIFEST_NAME))
        named = stated[folder].get(name_of(uri))
        found[uri] = named or stated[above].get(name_of(folder), "")
    return found


def _read(uri: str) -> dict[str, str]:
    if not exists(uri):
        return {}
    try:
        text = read_bytes(uri, 0, MAX_MANIFEST_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {uri!r} as a table of licences: {error}") from error
    return {
        row.get("name") or name_of(row.get("dir") or ""): row.get("licence") or "" for row in rows
    }
