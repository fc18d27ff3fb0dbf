import pytest
from pydantic import ValidationError

from tests.vgen.training.toys import POOL, adversarial, settings
from vgen.errors import ConfigError
from vgen.models.release import _checked_name
from vgen.training.settings import TrainSettings, load_train_recipe, release_uri


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 5.0}, "either in steps or in seconds"),
        ({"steps": None}, "either in steps or in seconds"),
        ({"size": "huge"}, "'huge' is not one of tiny"),
        ({"patch_px": 40}, "must fit into"),
        ({"size": "generate-tiny", "patch_px": 16}, "must be a multiple of 32 for size"),
        (
            {"size": "generate-tiny", "patch_px": 32, "pool": {"frames": 1, "side_px": 32}},
            r"pool\.frames=1 must be at least 2 for size 'generate-tiny'",
        ),
        ({"size": "vae-tiny", "scale": 2}, "takes neither a scale"),
        ({"scale": 2}, r"scale=2 and pool\.scale=1 must be equal"),
        ({"pool": {"scale": 4, "side_px": 32}}, r"scale=1 and pool\.scale=4 must be equal"),
        ({"size": "vae-tiny", "adversarial": adversarial()}, "nor an adversarial stage"),
        (
            {"adversarial": {"share": 0.5, "image_weight": 0, "temporal_weight": 0}},
            r"share=0\.5 needs a critic",
        ),
        ({"structure": {"features": 0.1}}, "belong to the adversarial stage"),
        ({"structure": {"temporal": 1}, "pool": {"frames": 2, "side_px": 32}}, "need 3 frames"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


@pytest.mark.parametrize(
    ("name", "is_fit"),
    [
        ("my.Net_2-b", True),
        ("n" * 89, True),
        ("n" * 90, False),
        ("", False),
        ("mein Netz", False),
        ("../x", False),
        ("sub/x", False),
        ("n\n", False),
        ("n\u00e9", False),
        ("\u0663", False),  # a digit to str.isalnum
    ],
)
def test_a_name_that_a_release_could_not_have_is_refused(name, is_fit):
    if is_fit:
        made = settings(name=name)
        for is_perceptual in (False, True):
            stem = release_uri("run", made, is_perceptual=is_perceptual)[4:-12]
            assert _checked_name(stem) == stem
    else:
        with pytest.raises(ValidationError, match="may hold letters, digits"):
            settings(name=name)


def test_one_critic_is_enough_and_none_is_needed_without_its_stage():
    settings(adversarial=adversarial(image_weight=0))
    settings(adversarial=adversarial(temporal_weight=0))
    settings(adversarial=adversarial(share=0, image_weight=0, temporal_weight=0))


def test_a_recipe_is_read_and_flags_lie_over_it(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("seconds = 60\nbatch = 4\n[adversarial]\nshare = 0.25\nchannels = 8\n")
    flags = {"steps": 5, "adversarial": {"channels": 16}}
    made = load_train_recipe(path, flags)
    assert (made.steps, made.seconds, made.batch) == (5, None, 4)
    assert (made.adversarial.share, made.adversarial.channels) == (0.25, 16)
    assert load_train_recipe(path).seconds == 60
    assert load_train_recipe(None, {"steps": 1}) == TrainSettings(steps=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps = ", "cannot read the recipe .*recipe.toml"),
        ("steps = 0", "training recipe refused: steps: .*greater than or equal to 1, got 0"),
        ("step = 1", "training recipe refused: step: there is no such setting, got 1"),
        ("", "training recipe refused: recipe: .*budget either in steps or in seconds"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "recipe.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_train_recipe(path)


def test_a_recipe_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the recipe .*none\.toml"):
        load_train_recipe(tmp_path / "none.toml")


def test_tables_that_flags_cannot_replace_in_part_are_refused_twice(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("steps = 1\n[pool]\nsize = 4\n")
    with pytest.raises(ConfigError, match="give pool either in the recipe or by flags"):
        load_train_recipe(path, {"pool": {"frames": 3}})


def test_identity_leaves_out_housekeeping_alone():
    one = settings(pool=POOL).identity()
    assert one == settings(checkpoint_every_s=3.0, keep_best=9).identity()
    assert one != settings(validation_clips=3).identity()
    assert set(TrainSettings.model_fields) - set(one) == {"checkpoint_every_s", "keep_best"}
