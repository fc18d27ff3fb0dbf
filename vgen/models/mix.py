"""One release between two others: fidelity on one side, texture on the other.

Network interpolation of Wang et al., "ESRGAN" (2018) and "Deep network interpolation" (2019):
weights of two networks, one of which was trained on from the other, are averaged, and the
pictures change as steadily as the share does. Of networks trained apart the mean is useless,
which nothing here can tell.
"""

from pathlib import Path

import safetensors

from vgen.errors import ReleaseError
from vgen.models.release import ReleaseHeader, load_network, release_digest, save_release


def mix_releases(first: Path, second: Path, *, share: float, path: Path, name: str) -> None:
    """Write a release with weights ``(1 - share) * first + share * second``.

    Stored as float16 where both are. Provenance names both with digest and share, and carries
    theirs along.

    Args:
        first: File of the release at share 0.
        second: File of the release at share 1, of the same architecture and settings.
        share: 0 to 1.
        path: The file to write.
        name: What the new release is called.

    Raises:
        ReleaseError: the two do not fit each other, or cannot be read; or the share is out of
            range.
    """
    if not 0 <= share <= 1:
        raise ReleaseError(f"the share of a mix must be 0 to 1, got {share:g}")
    (first_header, network), (second_header, other) = map(load_network, (first, second))
    for what in ("spec", "settings"):
        ours, theirs = getattr(first_header, what), getattr(second_header, what)
        if ours != theirs:
            raise ReleaseError(
                f"releases {first_header.name!r} and {second_header.name!r} cannot be mixed: "
                f"their {what} differ, {ours} and {theirs}"
            )
    theirs = other.state_dict()
    mixed = {
        key: (1 - share) * value + share * theirs[key]
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(mixed)
    save_release(
        path,
        name=name,
        network=network,
        spec=first_header.spec,
        settings=first_header.settings,
        provenance={
            "mix": [
                _part(first_header, first, 1 - share),
                _part(second_header, second, share),
            ]
        },
        is_half=all(_is_half(one) for one in (first, second)),
    )


def _part(header: ReleaseHeader, path: Path, share: float) -> dict[str, object]:
    return {
        "release": header.name,
        "sha256": release_digest(path),
        "share": share,
        "provenance": dict(header.provenance),
    }


def _is_half(path: Path) -> bool:
    with safetensors.safe_open(path, framework="pt") as file:
        return all(file.get_slice(key).get_dtype() == "F16" for key in file.keys())  # noqa: SIM118
