"""deploy/README.md: every command line in it, and every name it calls something by."""

import re
import shlex
from itertools import pairwise
from zipfile import ZipFile

import pytest
import yaml
from ray._private.runtime_env.packaging import _zip_files

from tests.deploy.files import DEPLOY, ROOT, documents, project
from tests.deploy.manifests import FOLDER, HEAD_PORTS, HEAD_SERVICE, by_kind, objects
from tests.deploy.programs import RefusedError, check_command, check_line
from tests.deploy.variables import is_read

README = DEPLOY / "README.md"
OURS = {"vgen", "ray", "prefect", "python", "python3"}
THEIRS = {"aws", "chmod", "cp", "docker", "export", "kubectl", "openssl", "pip", "sed"}
# kubectl's short words for kinds.
KINDS = {"service": "Service", "raycluster": "RayCluster", "deployment": "Deployment"}


@pytest.fixture(scope="module")
def text() -> str:
    return README.read_text()


@pytest.fixture(scope="module")
def lines(text) -> list[list[str]]:
    """The words of every command, without variables set before and redirections after it."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    found = []
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        words = shlex.split(re.sub(r" [<>] \S+$", "", line))
        while re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        words[0] = words[0].removeprefix(".venv/bin/")
        found.append(words)
    return found


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def of(lines: list[list[str]], *start: str) -> list[list[str]]:
    """Return the rests of the commands that begin so."""
    return [words[len(start) :] for words in lines if words[: len(start)] == list(start)]


def test_every_command_of_ours_is_one_that_its_program_takes(lines):
    assert {words[0] for words in lines} <= OURS | THEIRS
    checked = 0
    for words in lines:
        if words[0] in OURS and words[1:3] != ["-m", "venv"]:
            check_command(words)
            checked += 1
    assert checked >= 15


def test_commands_inside_of_sentences_are_taken_too(text):
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    named = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    commands = [code for code in named if code.split()[0] in OURS and len(code.split()) > 2]
    assert commands
    for command in commands:
        check_line(command)


def test_a_command_that_is_wrong_is_refused():
    for line in (
        "vgen enhance only-one",
        "vgen nothing",
        "ray start --heat",
        "ray job submit -- python -m pipelines.enhance only-one",
        "prefect work-pool make vgen",
        "prefect worker start --puddle vgen",
        "rclone serve s3 --nowhere /data",
        "python -m flows.serve --what",
        "python -m flows.absent",
        "make coffee",
    ):
        with pytest.raises(RefusedError):
            check_line(line)


def test_compose_is_asked_for_services_and_profiles_that_are_there(lines, compose):
    services = compose["services"]
    profiles = {profile for one in services.values() for profile in one.get("profiles", [])}
    calls = of(lines, "docker", "compose")
    assert len(calls) >= 8
    for words in calls:
        given = dict(pairwise(words))
        assert ROOT / given["-f"] == DEPLOY / "compose.yaml"
        assert {b for a, b in pairwise(words) if a == "--profile"} <= profiles
        if "exec" in words:
            service, *command = [w for w in words[words.index("exec") + 1 :] if w != "-T"]
            assert service in services
            if command[0] in OURS:
                check_command(command)
            else:
                assert command[0] in ("pg_dump", "pg_restore")
                assert {"-U", "prefect"} <= set(command)


def test_images_are_built_from_targets_and_arguments_that_are_there(lines):
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for words in of(lines, "docker", "build"):
        given = dict(pairwise(words))
        assert (ROOT / given["-f"]).samefile(DEPLOY / "Dockerfile")
        assert f" AS {given['--target']}\n" in dockerfile
        assert given["-t"] == f"vgen:{project()['version']}-{given['--target']}"
        if "--build-arg" in given:
            assert f"ARG {given['--build-arg'].split('=')[0]}=" in dockerfile
    for words in of(lines, "docker", "run"):
        assert words[-2:] == ["vgen", "doctor"]


def test_kubectl_gets_files_and_objects_that_are_there(lines):
    (namespace,) = by_kind("Namespace")
    calls = of(lines, "kubectl")
    assert len(calls) >= 10
    for words in calls:
        for option, value in pairwise(words):
            if option == "-f":
                assert (ROOT / value).exists(), value
            if option == "--namespace":
                assert value == namespace
        for word in words:
            kind, _, name = word.partition("/")
            if kind in KINDS and name:
                heads = {HEAD_SERVICE.format(one) for one in by_kind("RayCluster")}
                assert name in {*by_kind(KINDS[kind]), *(heads if kind == "service" else ())}
        if "delete" in words:
            kind, name = words[words.index("delete") + 1 :][:2]
            assert name in by_kind(KINDS[kind])


def test_forwarded_ports_are_open(lines):
    services = by_kind("Service")
    forwarded = [words[-2:] for words in of(lines, "kubectl") if "port-forward" in words]
    assert len(forwarded) == 2
    for target, ports in forwarded:
        name = target.split("/")[1]
        inner = int(ports.split(":")[1])
        known = {p["port"] for p in services[name]["spec"]["ports"]} if name in services else None
        assert inner in (known or HEAD_PORTS)


def test_what_has_no_name_of_its_own_is_created_and_not_applied(lines):
    nameless = {
        str(path.relative_to(ROOT))
        for path in FOLDER.rglob("*.yaml")
        if any("generateName" in one["metadata"] for one in documents(path))
    }
    assert nameless == {words[2] for words in of(lines, "kubectl") if words[:2] == ["create", "-f"]}
    applied = [words[2] for words in of(lines, "kubectl") if words[:2] == ["apply", "-f"]]
    assert "deploy/kuberay" in applied  # without its subfolder, as --recursive is not given
    assert all((ROOT / path).parent == FOLDER / "jobs" for path in nameless)


def test_deployments_that_are_run_are_in_the_file_of_deployments(lines):
    names = {one["name"] for one in documents(DEPLOY / "prefect.yaml")[0]["deployments"]}
    runs = [words for words in of(lines, "docker", "compose") if "deployment" in words]
    assert runs
    for words in runs:
        flow, name = words[words.index("run") + 1].split("/")
        assert flow == name
        assert name in names


def test_names_to_fill_in_are_all_filled_in_by_the_command(lines):
    (words,) = of(lines, "sed")
    replaced = set(re.findall(r"s#(?:s3://)?([A-Z]+)/#", words[1]))
    paths = {path for pattern in words[2:] for path in ROOT.glob(pattern)}
    holding = {
        path
        for path in [*FOLDER.rglob("*.yaml"), DEPLOY / "ray-cluster.yaml"]
        if any(f"{name}/" in path.read_text() for name in replaced)
    }
    assert holding <= paths
    assert replaced == {"REGISTRY", "BUCKET"}


def test_places_of_the_jobs_are_those_of_the_readme(lines):
    entrypoints = {
        tuple(shlex.split(one["spec"]["entrypoint"]))
        for one in objects()
        if one["kind"] == "RayJob"
    }
    submitted = {
        tuple(words[words.index("--") + 1 :]) for words in of(lines, "ray", "job", "submit")
    }
    assert entrypoints == submitted


def test_links_lead_somewhere(text):
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert targets
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (DEPLOY / target).exists(), target


def test_files_that_are_named_exist(text):
    named = set(re.findall(r"`((?:deploy|monitoring|tests)/[\w./-]+)`", text))
    assert len(named) >= 5
    for name in named - {"deploy/.env"}:  # which everyone makes
        assert (ROOT / name).exists() or (DEPLOY / name).exists(), name


def test_the_table_of_variables_is_whole_and_true(text):
    section = text.split("## Environment")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`([A-Z_]+)`", " ".join(rows)))
    assert not [name for name in named if not is_read(name, "vgen")]
    packages = [ROOT / name for name in ("vgen", "pipelines", "flows")]
    files = [path for package in packages for path in package.rglob("*.py")]
    read = {name for path in files for name in re.findall(r'"(VGEN_[A-Z_]+)"', path.read_text())}
    assert read - {"VGEN_TOPOLOGY"} <= named  # which benchmarks and tests set, and nobody else


def test_no_address_of_another_machine_is_needed():
    for path in sorted(
        one for one in [*DEPLOY.rglob("*"), ROOT / ".dockerignore"] if one.is_file()
    ):
        if path.parent.name == "recipes":
            continue
        for host in re.findall(r"https?://([^/\s\"'`:}]+)", path.read_text()):
            is_name_here = "." not in host or re.fullmatch(r"[\d.]+", host)
            assert is_name_here or host.endswith("example.com"), f"{path.name}: {host}"


def test_a_job_takes_code_and_recipes_to_the_cluster_and_no_secret(tmp_path):
    # By .rayignore alone: an environment variable makes Ray look away from .gitignore.
    tree = tmp_path / "project"
    code = {"pipelines/enhance.py", "vgen/config.py", "pyproject.toml"}
    code |= {f"deploy/recipes/{path.name}" for path in (DEPLOY / "recipes").iterdir()}
    private = {
        "deploy/.env",
        "deploy/kuberay/secret.yaml",
        ".venv/bin/python",
        ".git/config",
        "tests/conftest.py",
    }
    for name in code | private:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("x")
    for name in (".rayignore", ".gitignore", "deploy/.gitignore"):
        (tree / name).write_text((ROOT / name).read_text())
    package = tmp_path / "package.zip"
    _zip_files(str(tree), excludes=[], output_path=str(package), include_gitignore=False)
    with ZipFile(package) as opened:
        sent = set(opened.namelist())
    assert code <= sent
    assert not sent & private
