"""Commands for a cluster say what the settings say, and name the work they do."""

import shlex
from typing import Annotated

import pytest
from cyclopts import App, Parameter
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flows.work import Work, dataset_work, flags_of, promotion_work, training_work
from vgen.config import EncodeSettings, Limits, Recipe, ReportSettings
from vgen.training.promote import PromotionRules
from vgen.training.scores import EvaluationSettings
from vgen.training.selection import DatasetSettings, FitnessLimits
from vgen.training.settings import TrainFlags, TrainSettings


def parsed(model: type[BaseModel], flags: list[str]) -> BaseModel:
    """What the command line makes of flags."""
    app = App()

    @app.default
    def command(settings: Annotated[model | None, Parameter(name="*")] = None):  # type: ignore[valid-type]
        return settings

    found = app(flags, exit_on_error=False, print_error=False, result_action="return_value")
    return found or model()


RECIPES = st.builds(
    Recipe,
    release=st.sampled_from(["identity", "s3://b/x y.safetensors", "restore-tiny"]),
    strength=st.floats(0, 1.5),
    damaged=st.sampled_from(["salvage", "fail"]),
    encode=st.builds(
        EncodeSettings,
        codec=st.sampled_from(["auto", "h264", "ffv1"]),
        crf=st.integers(0, 63),
        pixel_format=st.sampled_from(["source", "yuv420p10le"]),
    ),
    limits=st.builds(Limits, max_failed_share=st.floats(0, 1), max_pixels=st.integers(1, 1 << 40)),
    report=st.builds(ReportSettings, stills=st.booleans()),
)


@settings(deadline=None)  # a machine that runs other tests is slow now and then
@given(recipe=RECIPES)
def test_a_recipe_survives_the_command_line(recipe):
    words = shlex.split(shlex.join(flags_of(recipe)))
    assert parsed(Recipe, words) == recipe


@pytest.mark.parametrize(
    "settings",
    [
        DatasetSettings(held_out=(), fitness=FitnessLimits(max_blur=0.5), require_licence=True),
        DatasetSettings(held_out=("*a b*", "-x")),
        EvaluationSettings(only=("a*",), damages=("noise", "blur"), baseline=False),
        PromotionRules(min_mean_gain_db=-0.5, ceiling_db=38.0),
    ],
)
def test_settings_survive_the_command_line(settings):
    assert parsed(type(settings), flags_of(settings)) == settings


def test_a_training_recipe_survives_the_command_line():
    settings = TrainSettings(
        name="x", seconds=30.0, adversarial={"share": 0.25}, pool={"frames": 3, "size": 16}
    )
    flags = parsed(TrainFlags, flags_of(settings))
    assert TrainSettings.model_validate(flags.model_dump(exclude_unset=True)) == settings


def test_what_no_flag_can_say_is_an_error():
    class Odd(BaseModel):
        limit: int | None = 3

    with pytest.raises(ValueError, match="no flag can say that limit is empty"):
        flags_of(Odd(limit=None))


def test_the_same_work_has_the_same_key_and_other_work_another():
    recipe = TrainSettings(steps=10)
    works = [
        dataset_work("s3://b/m", "s3://b/d", DatasetSettings()),
        dataset_work("s3://b/m", "s3://b/d", DatasetSettings(seed=1)),
        dataset_work("s3://b/m", "s3://b/e", DatasetSettings()),
        training_work("s3://b/d", "s3://b/r", recipe),
        training_work("s3://b/d", "s3://b/r", TrainSettings(steps=11)),
        promotion_work(
            "s3://b/c", "s3://b/d", "s3://b/g", "x", EvaluationSettings(), PromotionRules()
        ),
    ]
    assert len({work.key for work in works}) == len(works)
    assert works[0].key == dataset_work("s3://b/m/", "s3://b/d", DatasetSettings()).key
    more_checkpoints = TrainSettings(steps=10, keep_best=7)
    assert works[3].key == training_work("s3://b/d", "s3://b/r", more_checkpoints).key


def test_names_reach_the_cluster_whole(monkeypatch):
    monkeypatch.setenv("VGEN_JOB_PYTHON", "/opt/my python")
    odd = "s3://b/it's; rm -rf $HOME"
    work = Work(command="enhance", arguments=(odd,), identity=())
    assert shlex.split(work.entrypoint) == [
        "/opt/my python", "-m", "pipelines.cli", "enhance", odd,
    ]  # fmt: skip
