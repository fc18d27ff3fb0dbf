import inspect
import pickle

import pytest

from vgen import errors
from vgen.errors import (
    ConfigError,
    DamagedError,
    DecodeError,
    EncodeError,
    EnhanceError,
    FullError,
    MediaError,
    MissingError,
    ProbeError,
    RefusedError,
    ReleaseError,
    StorageError,
    UnforeseenError,
    VerifyError,
    VgenError,
)

TREE = {
    ConfigError: VgenError,
    MediaError: VgenError,
    ProbeError: MediaError,
    DecodeError: MediaError,
    EncodeError: MediaError,
    EnhanceError: MediaError,
    VerifyError: MediaError,
    UnforeseenError: MediaError,
    StorageError: VgenError,
    MissingError: StorageError,
    RefusedError: StorageError,
    DamagedError: StorageError,
    FullError: StorageError,
    ReleaseError: VgenError,
}


def test_the_tree_is_as_it_is_drawn():
    classes = {
        one
        for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, Exception) and one is not VgenError
    }
    assert classes == set(TREE)
    assert all(one.__bases__ == (base,) for one, base in TREE.items())
    assert all(one.__name__ in (errors.__doc__ or "") for one in classes)


@pytest.mark.parametrize("kind", [one for one in TREE if issubclass(one, MediaError)])
@pytest.mark.parametrize("pts", [None, 0, -7])
def test_a_media_error_crosses_processes_whole(kind, pts):
    error = kind("expected 3 frames, got 2", uri="/a/b.mp4", pts=pts)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is kind
    assert (copy.message, copy.uri, copy.pts) == (error.message, error.uri, error.pts)
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", [one for one in TREE if not issubclass(one, MediaError)])
def test_other_errors_cross_processes_whole(kind):
    copy = pickle.loads(pickle.dumps(kind("reason")))  # noqa: S301 - our own bytes
    assert type(copy) is kind
    assert str(copy) == "reason"


def test_a_media_error_says_where():
    assert str(DecodeError("frame missing", uri="/a.mp4")) == "frame missing (/a.mp4)"
    assert str(DecodeError("frame missing", uri="/a.mp4", pts=0)) == (
        "frame missing (/a.mp4 at pts 0)"
    )
