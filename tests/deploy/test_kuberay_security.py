"""The Kubernetes manifests: who gets which secret, and what a container may do."""

import shlex

from tests.deploy.files import DEPLOY, SECRET_NAME, variables_of_example, walk
from tests.deploy.manifests import by_kind, clusters, pods, ray_pods


def secrets_of_readme() -> set[tuple[str, str]]:
    """Return name and key of the secrets that the commands of README.md make."""
    found = set()
    for line in (DEPLOY / "README.md").read_text().splitlines():
        if "create secret generic" in line:
            words = shlex.split(line)
            name = words[words.index("generic") + 1]
            for word in words:
                if word.startswith("--from-literal="):
                    found.add((name, word.split("=")[1]))
                if word == "--from-env-file=deploy/.env":
                    found |= {(name, key) for key in variables_of_example()}
    return found


def test_every_secret_that_is_read_is_one_that_the_readme_makes():
    made = secrets_of_readme()
    assert len(made) > 5
    asked = {
        (node["secretKeyRef"]["name"], node["secretKeyRef"]["key"])
        for pod in pods()
        for node in walk(pod.spec)
        if isinstance(node, dict) and "secretKeyRef" in node
    }
    assert asked
    assert asked <= made
    for name, spec in clusters().items():
        assert spec["authOptions"]["mode"] == "token", name
        assert (spec["authOptions"]["secretName"], "auth_token") in made, name


def test_no_secret_lies_in_a_manifest():
    assert not by_kind("Secret")
    for pod in pods():
        for container in pod.containers:
            for entry in container.get("env", []):
                is_secret = SECRET_NAME.search(entry["name"])
                assert bool(is_secret) <= ("valueFrom" in entry), (pod.place, entry["name"])


def test_a_pod_gets_no_more_secrets_than_it_reads():
    for _, pod, _ in ray_pods():
        text = str(pod.spec)
        assert "POSTGRES_PASSWORD" not in text
        assert "PREFECT_AUTH_STRING" not in text
        assert "secretRef" not in text, "whole secrets go to nobody"


def test_only_the_autoscaler_may_talk_to_kubernetes():
    for pod in pods():
        if pod.place.endswith(" head"):
            assert pod.spec.get("automountServiceAccountToken", True)
        else:
            assert pod.spec["automountServiceAccountToken"] is False, pod.place


def test_every_container_says_what_it_takes_and_has_no_privileges():
    for pod in pods():
        security = pod.spec["securityContext"]
        assert security["runAsNonRoot"] is True, pod.place
        assert security["runAsUser"] >= 999, pod.place
        for container in pod.containers:
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind]), pod.place
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, pod.place
            assert own["capabilities"]["drop"] == ["ALL"], pod.place
    for spec in clusters().values():
        own = spec["autoscalerOptions"]["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
