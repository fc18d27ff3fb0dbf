"""What the tests of deployment files share: the compose file, read as Compose reads it."""

import re

import pytest
import yaml

from tests.deploy.files import DEPLOY, REFERENCE, variables_of_example


def interpolated(text: str, given: dict[str, str]) -> str:
    """Fill in variables as Compose does."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if given.get(name):
            return given[name]
        assert kind != "?", f"{name} is required"
        return rest or ""

    return REFERENCE.sub(value, text)


@pytest.fixture(scope="session")
def compose_text() -> str:
    """The file as it is written."""
    return (DEPLOY / "compose.yaml").read_text()


@pytest.fixture(scope="session")
def compose(compose_text) -> dict:
    """The file with a value for every secret and no other choice made."""
    given = {name: f"some-{name.lower()}" for name in variables_of_example()}
    return yaml.safe_load(interpolated(compose_text, given))


@pytest.fixture(scope="session")
def services(compose) -> dict[str, dict]:
    """Its services by name."""
    return compose["services"]
