"""What a RayCluster and a RayJob may hold: the fields of ``ray.io/v1`` in KubeRay 1.6.

No package carries these schemas. Pod templates are left open here: they are checked as pods.
"""

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0}
_START = {"rayStartParams": _TEXTS, "template": {"type": "object", "required": ["spec"]}}

_HEAD = {
    "type": "object",
    "required": ["template"],
    "additionalProperties": False,
    "properties": {
        **_START,
        "headService": {"type": "object"},
        "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        "enableIngress": {"type": "boolean"},
    },
}
_WORKERS = {
    "type": "object",
    "required": ["groupName", "template", "minReplicas", "maxReplicas"],
    "additionalProperties": False,
    "properties": {
        **_START,
        "groupName": {"type": "string", "pattern": "^[a-z0-9-]+$"},
        "replicas": _COUNT,
        "minReplicas": _COUNT,
        "maxReplicas": _COUNT,
        "idleTimeoutSeconds": _COUNT,
        "numOfHosts": _COUNT,
    },
}
CLUSTER_SPEC = {
    "type": "object",
    "required": ["rayVersion", "headGroupSpec", "workerGroupSpecs"],
    "additionalProperties": False,
    "properties": {
        "rayVersion": {"type": "string"},
        "authOptions": {
            "type": "object",
            "required": ["mode"],
            "additionalProperties": False,
            "properties": {
                "mode": {"enum": ["token", "disabled"]},
                "secretName": {"type": "string"},
            },
        },
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "version": {"enum": ["v1", "v2"]},
                "idleTimeoutSeconds": _COUNT,
                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
                "resources": {"type": "object"},
                "securityContext": {"type": "object"},
            },
        },
        "headGroupSpec": _HEAD,
        "workerGroupSpecs": {"type": "array", "minItems": 1, "items": _WORKERS},
    },
}
JOB_SPEC = {
    "type": "object",
    "required": ["entrypoint"],
    "additionalProperties": False,
    "properties": {
        "entrypoint": {"type": "string"},
        "backoffLimit": _COUNT,
        "activeDeadlineSeconds": {"type": "integer", "exclusiveMinimum": 0},
        "shutdownAfterJobFinishes": {"type": "boolean"},
        "ttlSecondsAfterFinished": _COUNT,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "SidecarMode"]},
        "runtimeEnvYAML": {"type": "string"},
        "clusterSelector": _TEXTS,
        "rayClusterSpec": CLUSTER_SPEC,
    },
    # A job makes its cluster, and then may remove it, or uses another's, and then must not.
    "oneOf": [
        {"required": ["rayClusterSpec", "shutdownAfterJobFinishes"]},
        {
            "required": ["clusterSelector"],
            "properties": {
                "shutdownAfterJobFinishes": {"const": False},
                "backoffLimit": {"const": 0},
            },
        },
    ],
}
