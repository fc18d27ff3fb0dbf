"""What, besides inputs and settings, decides the bytes of an output: part of every work key."""

import json
from importlib.metadata import version


def numerics(device: str) -> str:
    """Describe device kind, arithmetic and the builds of network and encoder, as stable JSON."""
    import av  # the encoder build is known to the library only

    facts = {
        "device": device,
        "dtype": "bfloat16" if device == "cuda" else "float32",
        "torch": version("torch").split("+")[0],
        "av": av.__version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
    }
    return json.dumps(facts, sort_keys=True)
