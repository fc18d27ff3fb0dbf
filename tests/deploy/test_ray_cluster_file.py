"""ray-cluster.yaml: as Ray's launcher reads it, and as EC2 would."""

import re
import shlex

import botocore.session
import pytest
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.deploy.files import DEPLOY, SECRET_NAME, documents, image_role, walk
from tests.deploy.programs import check_line
from tests.deploy.variables import is_read

PATH = DEPLOY / "ray-cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> dict:
    (one,) = documents(PATH)
    return one


@pytest.fixture(scope="module")
def nodes(cluster) -> dict[str, dict]:
    return cluster["available_node_types"]


def variables(cluster: dict) -> dict[str, str]:
    """Return the environment of every container."""
    words = shlex.split(" ".join(cluster["docker"]["run_options"]))
    given = [words[at + 1] for at, word in enumerate(words) if word == "--env"]
    return dict(one.split("=", 1) for one in given)


def test_the_launcher_takes_it(cluster):
    validate_config(prepare_config(cluster))


def test_the_launcher_would_refuse_what_it_does_not_know(cluster):
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config({**cluster, "max_worker": 1}))


def test_ec2_would_take_every_machine(nodes):
    shape = (
        botocore.session.get_session()
        .get_service_model("ec2")
        .operation_model("RunInstances")
        .input_shape
    )
    kinds = shape.members["InstanceType"].enum
    assert len(kinds) > 500
    for name, node in nodes.items():
        request = {**node["node_config"], "MinCount": 1, "MaxCount": 1}
        faults = ParamValidator().validate(request, shape)
        assert not faults.has_errors(), f"{name}: {faults.generate_report()}"
        assert node["node_config"]["InstanceType"] in kinds, name


def test_zones_are_of_the_region(cluster):
    zones = cluster["provider"]["availability_zone"].split(",")
    assert all(re.fullmatch(cluster["provider"]["region"] + "[a-f]", zone) for zone in zones)
    assert variables(cluster)["AWS_DEFAULT_REGION"] == cluster["provider"]["region"]


def test_images_are_of_this_version_and_gpus_get_the_one_that_can_use_them(cluster, nodes):
    assert image_role(cluster["docker"]["image"]) == "cpu"
    for node in nodes.values():
        own = node.get("docker", {}).get("worker_image", cluster["docker"]["image"])
        assert (image_role(own) == "cuda") == ("GPU" in node["resources"])


def test_every_command_line_is_one_that_its_program_takes(cluster):
    for commands in ("head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for line in cluster[commands]:
            check_line(line)


def test_head_and_workers_agree_about_ports(cluster):
    head, worker = (cluster[f"{one}_start_ray_commands"][-1] for one in ("head", "worker"))
    (port,) = re.findall(r"--port=(\d+)", head)
    assert f"--address=$RAY_HEAD_IP:{port}" in worker
    metrics = [re.findall(r"--metrics-export-port=(\d+)", line) for line in (head, worker)]
    assert metrics[0] == metrics[1] != []
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head


def test_the_job_server_is_reached_through_a_tunnel_only(cluster):
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]
    assert "security_group" not in cluster["provider"]


def test_every_node_asks_for_the_token_that_the_readme_makes(cluster):
    given = variables(cluster)
    assert given["RAY_AUTH_MODE"] == "token"
    assert cluster["file_mounts"] == {given["RAY_AUTH_TOKEN_PATH"]: "~/.ray/auth_token"}
    home = re.search(r"HOME=(\S+)", (DEPLOY / "Dockerfile").read_text())[1]
    assert given["RAY_AUTH_TOKEN_PATH"].startswith(f"{home}/")
    assert "ray get-auth-token --generate" in (DEPLOY / "README.md").read_text()


def test_every_variable_is_read_by_something_and_none_is_a_secret(cluster):
    given = variables(cluster)
    assert not [name for name in given if not is_read(name, cluster["docker"]["image"])]
    paths = {"RAY_AUTH_TOKEN_PATH"}
    assert not [name for name in set(given) - paths if SECRET_NAME.search(name)]


def test_machines_have_roles_that_the_readme_describes_and_no_keys(cluster, nodes):
    readme = (DEPLOY / "README.md").read_text()
    for node in nodes.values():
        assert f"`{node['node_config']['IamInstanceProfile']['Name']}`" in readme
    assert "ssh_private_key" not in str(cluster)
    assert not [one for one in walk(cluster) if isinstance(one, str) and "AKIA" in one]


def test_workers_are_spot_machines_and_the_head_is_not(cluster, nodes):
    for name, node in nodes.items():
        market = node["node_config"].get("InstanceMarketOptions", {}).get("MarketType")
        assert market == (None if name == cluster["head_node_type"] else "spot"), name
    assert nodes[cluster["head_node_type"]]["resources"] == {"CPU": 0}


def test_a_run_finds_workers_at_its_start(cluster, nodes):
    workers = [node for name, node in nodes.items() if name != cluster["head_node_type"]]
    assert all(1 <= node["min_workers"] <= node["max_workers"] for node in workers)
    assert sum(node["max_workers"] for node in workers) <= cluster["max_workers"]
    assert any("GPU" in node["resources"] for node in workers)


def test_disks_are_encrypted_and_go_with_their_machine(cluster, nodes):
    assert cluster["provider"]["cache_stopped_nodes"] is False
    for node in nodes.values():
        (disk,) = node["node_config"]["BlockDeviceMappings"]
        assert disk["Ebs"]["Encrypted"] is True
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
