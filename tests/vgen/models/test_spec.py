import json
from dataclasses import replace

import pytest

from vgen.errors import ReleaseError
from vgen.models.spec import ARCHITECTURES, ModelSpec

SPEC = ModelSpec(
    architecture="temporal_unet", scale=2, lead=1, tail=1, multiple_of=4, receptive_radius=30
)


def test_a_spec_survives_json():
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC


def test_a_stride_over_time_survives_json_and_is_left_out_where_there_is_none():
    strided = replace(SPEC, architecture="unconditional_vae", temporal_stride=2)
    assert ModelSpec.from_json(strided.to_json()) == strided
    assert "temporal_stride" not in SPEC.to_json()
    assert ModelSpec.from_mapping(json.loads(SPEC.to_json())).temporal_stride == 1


def test_only_what_makes_clips_up_does_not_restore():
    assert [name for name in ARCHITECTURES if not replace(SPEC, architecture=name).restores] == [
        "unconditional_vae"
    ]


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
        ({"temporal_stride": 0}, "temporal_stride is 0, outside 1 to 8"),
        ({"temporal_stride": 9}, "temporal_stride is 9, outside 1 to 8"),
        ({"temporal_stride": 1.0}, "temporal_stride is 1.0, not a"),
        ({"temporal_stride": 2}, "temporal_stride is 2, but what restores takes frames one by one"),
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
