import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vgen.config import Limits, Recipe, load_recipe
from vgen.errors import ConfigError


def written(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_and_no_override_is_the_default_recipe():
    assert load_recipe(None) == Recipe()


def test_a_recipe_is_read_with_its_tables(tmp_path):
    text = """
        release = "identity"
        strength = 0.5
        damaged = "fail"
        [encode]
        codec = "hevc"
        crf = 22
        [limits]
        max_pixels = 1000
        [report]
        stills = false
    """
    recipe = load_recipe(written(tmp_path, text))
    assert (recipe.release, recipe.strength, recipe.damaged) == ("identity", 0.5, "fail")
    assert (recipe.encode.codec, recipe.encode.crf, recipe.encode.preset) == ("hevc", 22, "medium")
    assert recipe.limits == Limits(max_pixels=1000)
    assert not recipe.report.stills


def test_a_byte_order_mark_before_a_recipe_is_passed_over(tmp_path):
    assert load_recipe(written(tmp_path, "\ufeffstrength = 0.5\n")).strength == 0.5


def test_an_override_wins_over_the_file_field_by_field(tmp_path):
    path = written(tmp_path, 'release = "identity"\n[encode]\ncodec = "hevc"\ncrf = 22\n')
    recipe = load_recipe(path, {"strength": 0.25, "encode": {"crf": 10}})
    assert (recipe.release, recipe.strength) == ("identity", 0.25)
    assert (recipe.encode.codec, recipe.encode.crf) == ("hevc", 10)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("strenght = 1", "strenght: there is no such setting, got 1"),
        ("strength = 1.6", "strength: .*less than or equal to 1.5, got 1.6"),
        ("strength = -0.1", "strength: .*greater than or equal to 0"),
        ("strength = nan", "strength: "),
        ("strength = 'much'", "strength: .*valid number"),
        ("damaged = 'ignore'", "damaged: .*'salvage' or 'fail'"),
        ("[encode]\ncodec = 'vp9'", "encode.codec: "),
        ("[encode]\ncrf = 64", "encode.crf: .*less than or equal to 63"),
        ("[encode]\ncrf = 1.5", "encode.crf: .*integer"),
        ("[encode]\npreset = 'placebo'", "encode.preset: "),
        ("[encode]\ncontainer = 'avi'", "encode.container: "),
        ("[post]\nsteps = ['polish']", "post.steps.0: .*'denoise', 'deflicker', 'color'"),
        ("[post]\nsteps = ['color', 'color']", "post.steps: .*'color' is given twice"),
        ("[post.color]\ngamma = 9", "post.color.gamma: .*less than or equal to 4"),
        ("[post.color]\nhue = 1", "post.color.hue: there is no such setting"),
        ("[post.polish]\namount = 1", "post.polish: there is no such setting"),
        ("[limits]\nmax_pixels = 0", "limits.max_pixels: .*greater than 0"),
        ("[limits]\nmax_failed_share = 2", "limits.max_failed_share: "),
        ("release = 'a'\nrelease = 'b'", "is not valid TOML"),
        ("[encode", "is not valid TOML"),
    ],
)
def test_what_a_recipe_must_not_say_is_refused_by_field_and_value(tmp_path, text, reason):
    with pytest.raises(ConfigError, match=reason):
        load_recipe(written(tmp_path, text))


def test_all_faults_are_told_at_once(tmp_path):
    path = written(tmp_path, "strength = 9\ncolour = 1\n[encode]\ncrf = 99\n")
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    for field in ("strength: ", "colour: ", "encode.crf: "):
        assert field in str(caught.value)


def test_a_refused_override_is_told_like_a_refused_file():
    with pytest.raises(ConfigError, match="strength: "):
        load_recipe(None, {"strength": 7})


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load_recipe(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b"release = 'caf\xe9'")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_recipe(tmp_path / "latin.toml")


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().strength = 0.5


def test_a_recipe_survives_json():
    recipe = load_recipe(None, {"strength": 0.3, "encode": {"codec": "av1"}})
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    "change",
    [
        {"strength": 0.99},
        {"damaged": "fail"},
        {"deinterlace": "never"},
        {"encode": {"crf": 19}},
        {"encode": {"codec": "h264"}},
        {"encode": {"preset": "slow"}},
        {"encode": {"pixel_format": "yuv420p"}},
        {"encode": {"container": "mkv"}},
        {"post": {"steps": ("grain",)}},
    ],
)
def test_the_digest_changes_with_what_changes_the_output(change):
    assert load_recipe(None, change).digest() != Recipe().digest()


@pytest.mark.parametrize(
    "change",
    [
        {"limits": {"max_pixels": 5}},
        {"report": {"stills": False}},
        # The release has a digest of its own in every key.
        {"release": "identity"},
        # An option of a step that is not asked for.
        {"post": {"color": {"gamma": 2.0}}},
    ],
)
def test_the_digest_does_not_change_with_what_does_not_change_the_output(change):
    assert load_recipe(None, change).digest() == Recipe().digest()


def test_the_digest_depends_on_the_steps_their_order_and_their_options():
    posts = [
        {"steps": ("color", "grain")},
        {"steps": ("grain", "color")},
        {"steps": ("color",)},
        {"steps": ("color",), "color": {"gamma": 1.2}},
        {"steps": ("color",), "color": {"lut": "a.cube"}},
    ]
    digests = {load_recipe(None, {"post": post}).digest() for post in posts}
    assert len(digests) == len(posts)


@given(strength=st.floats(0, 1.5), crf=st.integers(0, 63))
def test_the_digest_depends_on_values_and_not_on_how_they_were_given(strength, crf):
    given_in_turn = load_recipe(None, {"encode": {"crf": crf}, "strength": strength})
    again = Recipe.model_validate_json(given_in_turn.model_dump_json())
    assert again.digest() == given_in_turn.digest()
    assert len(again.digest()) == 64
