"""compose.yaml: secrets, doors and privileges; and its store, started as the file says."""

import os
import re
import socket
import subprocess
import sys

import pytest
import yaml
from sqlalchemy.engine import make_url

from tests.deploy.files import (
    DEPLOY,
    REFERENCE,
    SECRET_NAME,
    image_role,
    ports_of,
    variables_of_example,
)
from tests.s3 import rclone_program, wait_until_it_listens
from vgen import storage
from vgen.errors import ConfigError


def test_scratch_is_shared_by_no_two_containers(services):
    # Its folders are named by process id, and a container would sweep another's as dead.
    users = [one for one in services.values() if "/scratch" in one.get("volumes", [])]
    assert len(users) >= 4
    mounts = [mount for one in services.values() for mount in one.get("volumes", [])]
    assert not [mount for mount in mounts if ":/scratch" in mount]


def test_nothing_is_published_beyond_this_machine(services):
    published = [port for one in services.values() for port in one.get("ports", [])]
    assert len(published) >= 4
    for port in published:
        host, outer, inner = port.split(":")
        assert host == "127.0.0.1"
        assert outer == inner
    for name, service in services.items():
        for port in service.get("ports", []):
            assert int(port.split(":")[2]) in ports_of(name, service), name


def test_our_containers_have_no_privileges(services):
    for name, service in services.items():
        if image_role(service["image"]):
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert "user" not in service, name
        assert service.get("network_mode") is None, name


def test_secrets_come_from_outside_and_are_asked_for(compose_text):
    tree = yaml.safe_load(compose_text)
    environments = [one["environment"] for one in tree["services"].values() if "environment" in one]
    secrets = [
        (name, value)
        for environment in environments
        for name, value in environment.items()
        if SECRET_NAME.search(name) or name == "RCLONE_AUTH_KEY"
    ]
    assert len(secrets) > 10
    for name, value in secrets:
        references = REFERENCE.findall(value)
        assert references, f"{name} has a value of its own"
        assert all(kind == "?" for _, kind, _ in references), f"{name} may be empty"
        assert not re.search(r"[A-Za-z0-9]", REFERENCE.sub("", value)), name


def test_the_example_names_what_is_asked_for_and_holds_no_value(compose_text):
    example = variables_of_example()
    assert set(example.values()) == {""}
    used = {name: kind for name, kind, _ in REFERENCE.findall(compose_text)}
    assert set(example) <= set(used)
    assert {name for name, kind in used.items() if kind == "?"} <= set(example)


def test_the_file_of_secrets_is_ignored():
    assert ".env" in (DEPLOY / ".gitignore").read_text().split()


def test_every_node_and_client_of_ray_asks_for_the_token(services):
    of_ray = [
        one
        for one in services.values()
        if one.get("command", [""])[0] == "ray" or "RAY_ADDRESS" in one.get("environment", {})
    ]
    assert len(of_ray) == 4
    for service in of_ray:
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN"] == "some-ray_auth_token"


def test_the_password_of_the_database_may_hold_any_character(services, tmp_path):
    password = "a@b:c/d%40#?$x"
    given = {**services["prefect-server"]["environment"], "PREFECT_HOME": str(tmp_path)}
    given["PREFECT_SERVER_DATABASE_PASSWORD"] = password
    code = (
        "from prefect.settings import get_current_settings as settings;"
        "print(settings().server.database.connection_url.get_secret_value())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True
    )
    url = make_url(ran.stdout.strip())
    assert (url.host, url.port, url.database) == ("postgres", 5432, "prefect")
    assert (url.username, url.password) == ("prefect", password)


def test_the_store_answers_to_the_pair_of_the_environment_file(services, tmp_path, monkeypatch):
    service = services["store"]
    words = service["command"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "vgen").mkdir()  # what the service `bucket` does
    assert services["bucket"]["command"] == ["mkdir", "/data/vgen"]
    own = {"--addr=:8333": f"--addr=127.0.0.1:{port}", "/data": str(tmp_path)}
    log_path = tmp_path.with_name("store.log")
    command = [rclone_program(), *(own.get(word, word) for word in words)]
    command += ["--config", os.devnull, "--log-file", str(log_path)]
    process = subprocess.Popen(command, env=service["environment"])
    try:
        wait_until_it_listens(process, port, log_path)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in services["ray-worker"]["environment"].items():
            monkeypatch.setenv(name, value)
        # By name, as in the file: bucket and host must not be joined to one name.
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://localhost:{port}")
        storage.check_reachable("s3://vgen/enhanced", writable=True)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        with pytest.raises(ConfigError, match="check the credentials"):
            storage.check_reachable("s3://vgen/enhanced", writable=True)
    finally:
        process.kill()
        process.wait(timeout=30)
