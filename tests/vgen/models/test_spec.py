import json

import pytest

from vgen.errors import ReleaseError
from vgen.models.spec import ModelSpec

SPEC = ModelSpec(
    architecture="temporal_unet", scale=2, lead=1, tail=1, multiple_of=4, receptive_radius=30
)


def test_a_spec_survives_json():
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC


def test_the_same_spec_gives_the_same_bytes():
    shuffled = dict(reversed(json.loads(SPEC.to_json()).items()))
    assert ModelSpec.from_mapping(shuffled).to_json() == SPEC.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 3}, "scale 3 is not one of"),
        ({"scale": True}, "scale is True, not a"),
        ({"architecture": "pickle"}, "architecture 'pickle' is not one of"),
        ({"architecture": 7}, "architecture is 7"),
        ({"lead": -1}, "lead is -1, outside 0 to 64"),
        ({"tail": 1_000_000}, "tail is 1000000, outside"),
        ({"multiple_of": 0}, "multiple_of is 0, outside 1"),
        ({"receptive_radius": 1.5}, "receptive_radius is 1.5, not a"),
        ({"surprise": 1}, "unknown key 'surprise'"),
    ],
)
def test_a_spec_with_a_wrong_value_is_refused(change, message):
    document = json.loads(SPEC.to_json()) | change
    with pytest.raises(ReleaseError, match=message):
        ModelSpec.from_json(json.dumps(document))


@pytest.mark.parametrize("key", ["architecture", "scale", "receptive_radius"])
def test_a_spec_lacking_a_key_is_refused(key):
    document = json.loads(SPEC.to_json())
    del document[key]
    with pytest.raises(ReleaseError, match=f"lacks '{key}'"):
        ModelSpec.from_mapping(document)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(ReleaseError, match="not JSON"):
        ModelSpec.from_json(text)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"temporal_unet"'])
def test_json_that_is_not_an_object_is_refused(text):
    with pytest.raises(ReleaseError, match="must be an object"):
        ModelSpec.from_json(text)
