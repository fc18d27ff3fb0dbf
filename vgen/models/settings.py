"""Check the numbers of an architecture that come from a release's header, which is not trusted."""

from collections.abc import Iterable, Mapping

from vgen.errors import ReleaseError


def check_keys(architecture: str, settings: Mapping[str, object], keys: Iterable[str]) -> None:
    """Raise ``ReleaseError`` unless ``settings`` has exactly these keys."""
    odd = set(settings) ^ set(keys)
    if odd:
        raise ReleaseError(f"settings of {architecture}: {min(odd)!r} is missing or unknown")


def count(architecture: str, key: str, value: object) -> int:
    """Return ``value`` as an integer.

    Raises:
        ReleaseError: it is none.
    """
    # type() and not isinstance: JSON's true is an int to Python.
    if type(value) is not int:
        raise ReleaseError(f"settings of {architecture}: {key} is {value!r}, not an integer")
    return value


def counts(architecture: str, key: str, values: object, length: int | None) -> tuple[int, ...]:
    """Return ``values`` as integers, ``length`` of them, or any number if that is None.

    Raises:
        ReleaseError: it is no such list.
    """
    if not isinstance(values, list | tuple) or length not in {None, len(values)}:
        many = "a list of" if length is None else str(length)
        raise ReleaseError(f"settings of {architecture}: {key} is {values!r}, not {many} counts")
    return tuple(count(architecture, key, value) for value in values)
