"""The Kubernetes manifests: their schemas, and every name that one object calls another by."""

import re
import shlex

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.files import (
    DEPLOY,
    constraints,
    documents,
    hosts_of,
    image_role,
    walk,
)
from tests.deploy.manifests import (
    FILES,
    FOLDER,
    HEAD_PORTS,
    HEAD_SERVICE,
    by_kind,
    clusters,
    objects,
    pods,
    ray_pods,
)
from tests.deploy.programs import check_command
from tests.deploy.ray_kinds import CLUSTER_SPEC, JOB_SPEC
from tests.deploy.variables import is_read

KUBERNETES = "1.29", kubernetes_validate.latest_version()
RAY_KINDS = {"RayCluster": CLUSTER_SPEC, "RayJob": JOB_SPEC}


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_manifest_fits_its_schema(path, version):
    for one in documents(path):
        if one["kind"] in RAY_KINDS:
            assert one["apiVersion"] == "ray.io/v1"
            jsonschema.Draft202012Validator(RAY_KINDS[one["kind"]]).validate(one["spec"])
        else:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
def test_a_pod_of_ray_fits_the_schema_of_pods(version):
    for name, pod, group in ray_pods():
        metadata = {**group["template"].get("metadata", {}), "name": name.strip("-")}
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod.spec}
        kubernetes_validate.validate(made, version, strict=True)


def test_all_is_in_one_namespace_that_is_made_first():
    (namespace,) = by_kind("Namespace")
    assert documents(FOLDER / "config.yaml")[0]["kind"] == "Namespace"
    for one in objects():
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == namespace


def test_settings_and_service_accounts_that_are_named_are_there():
    maps, accounts = by_kind("ConfigMap"), by_kind("ServiceAccount")
    used = 0
    for pod in pods():
        for node in walk(pod.spec):
            if isinstance(node, dict) and "configMapRef" in node:
                assert node["configMapRef"]["name"] in maps, pod.place
                used += 1
        assert pod.spec.get("serviceAccountName", "default") in {*accounts, "default"}, pod.place
    assert used >= 7


def test_every_variable_is_read_by_the_program_it_is_given_to():
    settings = by_kind("ConfigMap")["vgen"]["data"]
    given = [(container["image"], name) for pod in pods() for container in pod.containers
             for name in [*(entry["name"] for entry in container.get("env", [])),
                          *(settings if "envFrom" in container else [])]]  # fmt: skip
    assert len(given) > 30
    unread = [
        (image, name) for image, name in given if not is_read(name, image.removeprefix("REGISTRY/"))
    ]
    assert not unread


def test_every_command_line_is_one_that_its_program_takes():
    checked = 0
    for pod in pods():
        for container in pod.containers:
            if image_role(container["image"]) and "command" in container:
                check_command(container["command"])
                checked += 1
    assert checked >= 5


def test_what_a_job_starts_is_a_command_of_vgen():
    for one in objects():
        if one["kind"] == "RayJob":
            check_command(shlex.split(one["spec"]["entrypoint"]))


def test_images_are_of_this_version_and_gpus_go_to_those_that_can_use_them():
    for pod in pods():
        for container in pod.containers:
            role = image_role(container["image"])
            limits = container["resources"]["limits"]
            assert (role == "cuda") == ("nvidia.com/gpu" in limits), pod.place
            assert re.search(r":\d", container["image"]), pod.place


def test_ray_is_the_version_of_the_image():
    assert {spec["rayVersion"] for spec in clusters().values()} == {constraints()["ray"]}


def test_ray_counts_what_a_container_is_sure_to_have():
    # Ray takes its CPUs and memory from the limits; above the requests they are a hope.
    for _, pod, _ in ray_pods():
        (container,) = pod.spec["containers"]
        assert container["resources"]["limits"] == container["resources"]["requests"], pod.place


def test_every_mount_has_its_volume_and_scratch_is_the_pods_own():
    for pod in pods():
        volumes = {one["name"]: one for one in pod.spec.get("volumes", [])}
        for container in pod.containers:
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in {*volumes, *pod.claims}, pod.place
        used = {one["name"] for one in pod.mounts}
        assert used == {*volumes, *pod.claims}, pod.place
        for name, volume in volumes.items():
            assert set(volume) == {"name", "emptyDir"}, (pod.place, name)
    for _, pod, _ in ray_pods():
        assert "/scratch" in {one["mountPath"] for one in pod.mounts}


def test_probes_and_services_name_ports_that_are_there():
    probes = 0
    for pod in pods():
        for container in pod.containers:
            names = {port["name"] for port in container.get("ports", [])}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                if "httpGet" in container.get(kind, {}):
                    assert container[kind]["httpGet"]["port"] in names, pod.place
                    probes += 1
    assert probes >= 5
    for name, service in by_kind("Service").items():
        chosen = [
            pod for pod in pods() if service["spec"]["selector"].items() <= pod.labels.items()
        ]
        assert len(chosen) == 1, name
        inner = {port["containerPort"] for one in chosen[0].containers for port in one["ports"]}
        assert {port.get("targetPort", port["port"]) for port in service["spec"]["ports"]} <= inner


def test_ports_are_those_of_the_command_lines():
    for pod in pods():
        for container in pod.containers:
            words = container.get("command", [])
            if "--port" in words:
                given = int(words[words.index("--port") + 1])
                assert given in {port["containerPort"] for port in container["ports"]}, pod.place


def test_who_looks_after_pods_knows_them_by_their_labels():
    for kind in ("Deployment", "StatefulSet"):
        for name, one in by_kind(kind).items():
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"] == labels, name
    assert by_kind("StatefulSet")["postgres"]["spec"]["serviceName"] in by_kind("Service")


def test_whatever_is_called_by_name_is_a_service_and_listens_there():
    ports = {
        name: {port["port"] for port in one["spec"]["ports"]}
        for name, one in by_kind("Service").items()
    }
    ports |= {HEAD_SERVICE.format(name): HEAD_PORTS for name in by_kind("RayCluster")}
    called = {one for pod in pods() for one in hosts_of(pod.spec)}
    assert {("prefect-server", 4200), ("vgen-ray-head-svc", 8265)} <= called
    for host, port in called:
        assert port in ports[host], f"{host}:{port}"
    (database,) = [
        {entry["name"]: entry.get("value") for entry in pod.spec["containers"][0]["env"]}
        for pod in pods() if pod.place == "prefect-server"
    ]  # fmt: skip
    host = database["PREFECT_SERVER_DATABASE_HOST"]
    assert int(database["PREFECT_SERVER_DATABASE_PORT"]) in ports[host]


def test_a_services_name_does_not_become_a_setting_of_prefect():
    # Kubernetes would set PREFECT_SERVER_PORT for a service of that name, to an address.
    for pod in pods():
        if pod.place.startswith("prefect"):
            assert pod.spec["enableServiceLinks"] is False


def test_a_run_of_its_own_gets_the_same_cluster_as_the_standing_one():
    specs = list(clusters().values())
    assert len(specs) == 2
    assert specs[0] == specs[1]


def test_a_job_for_the_standing_cluster_finds_it():
    jobs = [one["spec"] for one in objects() if one["kind"] == "RayJob"]
    chosen = [job["clusterSelector"] for job in jobs if "clusterSelector" in job]
    assert len(chosen) == 1
    assert chosen[0]["ray.io/cluster"] in by_kind("RayCluster")


def test_the_head_runs_no_tasks_and_stays_off_spot_machines():
    for spec in clusters().values():
        head = spec["headGroupSpec"]
        assert head["rayStartParams"]["num-cpus"] == "0"
        affinity = head["template"]["spec"]["affinity"]["nodeAffinity"]
        (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert {one["operator"] for one in term["matchExpressions"]} == {"NotIn"}
        avoided = {(one["key"], *one["values"]) for one in term["matchExpressions"]}
        for group in spec["workerGroupSpecs"]:
            preferred = group["template"]["spec"]["affinity"]["nodeAffinity"][
                "preferredDuringSchedulingIgnoredDuringExecution"
            ]
            wanted = {
                (one["key"], *one["values"])
                for entry in preferred
                for one in entry["preference"]["matchExpressions"]
            }
            assert wanted == avoided


def test_workers_bear_the_taints_of_spot_machines_and_gpus():
    for spec in clusters().values():
        for group in spec["workerGroupSpecs"]:
            borne = {one["key"] for one in group["template"]["spec"]["tolerations"]}
            assert {"cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"} <= borne
            assert ("nvidia.com/gpu" in borne) == (group["groupName"] == "gpu")


def test_a_run_finds_workers_at_its_start():
    for spec in clusters().values():
        assert spec["enableInTreeAutoscaling"] is True
        groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
        assert set(groups) == {"cpu", "gpu"}
        for group in groups.values():
            assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_metrics_of_all_nodes_are_at_one_port():
    policy = by_kind("NetworkPolicy")["vgen-ray"]["spec"]
    for _, pod, group in ray_pods():
        (container,) = pod.spec["containers"]
        (port,) = [one["containerPort"] for one in container["ports"] if one["name"] == "metrics"]
        assert group["rayStartParams"]["metrics-export-port"] == str(port)
        assert {"port": port} in [
            one for rule in policy["ingress"] for one in rule.get("ports", [])
        ]


def test_what_starts_ray_is_a_command_line_that_ray_takes():
    for _, pod, group in ray_pods():
        words = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        place = ["--head"] if pod.place.endswith(" head") else ["--address=head:6379"]
        check_command(["ray", "start", *place, *words])


def test_prefect_can_write_its_pages():
    home = re.search(r"HOME=(\S+)", (DEPLOY / "Dockerfile").read_text())[1]
    (server,) = [pod.containers[0] for pod in pods() if pod.place == "prefect-server"]
    given = {entry["name"]: entry.get("value") for entry in server["env"]}
    assert given["PREFECT_SERVER_UI_STATIC_DIRECTORY"].startswith(f"{home}/")
