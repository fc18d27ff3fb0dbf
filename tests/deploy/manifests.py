"""The Kubernetes manifests, read: their objects, and all pods that come of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.deploy.files import DEPLOY, documents

FOLDER = DEPLOY / "kuberay"
FILES = sorted(FOLDER.rglob("*.yaml"))
# What the operator names the service of a cluster's head, and where Ray listens by default.
HEAD_SERVICE = "{}-head-svc"
HEAD_PORTS = {6379, 8265, 10001, 8080}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod template and where it was found."""

    place: str
    labels: dict
    spec: dict
    claims: tuple[str, ...] = ()
    """Volumes that a StatefulSet gives it."""

    @property
    def containers(self) -> list[dict]:
        """All, those that run first included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def mounts(self) -> list[dict]:
        """All mounts of all containers."""
        return [mount for one in self.containers for mount in one.get("volumeMounts", [])]


def objects() -> list[dict]:
    """Return all objects of all manifests."""
    return [one for path in FILES for one in documents(path)]


def clusters() -> dict[str, dict]:
    """Return all specs of Ray clusters by the name of what they are in."""
    found = {}
    for one in objects():
        name = one["metadata"].get("name") or one["metadata"]["generateName"]
        if one["kind"] == "RayCluster":
            found[name] = one["spec"]
        if one["kind"] == "RayJob" and "rayClusterSpec" in one["spec"]:
            found[name] = one["spec"]["rayClusterSpec"]
    return found


def ray_pods() -> Iterator[tuple[str, Pod, dict]]:
    """Yield cluster's name, pod and group of all groups of all clusters."""
    for name, spec in clusters().items():
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
            place = f"{name} {group.get('groupName', 'head')}"
            template = group["template"]
            labels = {"ray.io/node-type": "worker" if "groupName" in group else "head"}
            yield name, Pod(place=place, labels=labels, spec=template["spec"]), group


def pods() -> list[Pod]:
    """Return all pods that the manifests make."""
    found = [pod for _, pod, _ in ray_pods()]
    for one in objects():
        if one["kind"] in ("Deployment", "StatefulSet"):
            template = one["spec"]["template"]
            claims = [
                claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])
            ]
            found.append(
                Pod(
                    place=one["metadata"]["name"],
                    labels=template["metadata"]["labels"],
                    spec=template["spec"],
                    claims=tuple(claims),
                )
            )
    return found


def by_kind(kind: str) -> dict[str, dict]:
    """Return the objects of a kind by name."""
    return {one["metadata"]["name"]: one for one in objects() if one["kind"] == kind}
