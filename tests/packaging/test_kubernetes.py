"""The manifests: valid for Kubernetes by its own schemas, and what must hold in them."""

import json

import kubernetes_validate
import pytest
import yaml

from harness import TOP

HERE = TOP / "packaging" / "kubernetes"
FILES = sorted(HERE.glob("*.yaml"))
VERSIONS = ["1.29", "1.33", "1.37"]     # native sidecars since 1.29


def documents(path):
    return [d for d in yaml.safe_load_all(path.read_text()) if d]


def pod_spec(path):
    (spec,) = [d["spec"]["template"]["spec"] if d["kind"] == "Deployment" else d["spec"]
               for d in documents(path) if d["kind"] in ("Deployment", "Pod")]
    return spec


def test_there_are_manifests():
    assert {f.name for f in FILES} >= {"connector-sidecar.yaml", "mount-sidecar.yaml", "rbac.yaml"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_valid(path, version):
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_refuse_what_is_wrong():
    document = documents(HERE / "mount-sidecar.yaml")[-1]
    document["spec"]["initContainers"][0]["restartPolicyy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", ["connector-sidecar.yaml", "mount-sidecar.yaml"])
def test_sidecars(name):
    spec = pod_spec(HERE / name)
    (sidecar,) = [c for c in spec["initContainers"] if c["name"] == "stateproxy"]
    assert sidecar["restartPolicy"] == "Always" and sidecar["startupProbe"]
    assert sidecar["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
    assert spec["terminationGracePeriodSeconds"] > 45
    volumes = {v["name"] for v in spec["volumes"]}
    for container in (sidecar, *spec["containers"]):
        assert {m["name"] for m in container["volumeMounts"]} <= volumes


def test_propagation():
    spec = pod_spec(HERE / "mount-sidecar.yaml")
    kinds = {v["name"]: set(v) - {"name"} for v in spec["volumes"]}
    (out,) = [m for m in spec["initContainers"][0]["volumeMounts"] if "mountPropagation" in m]
    (into,) = [m for m in spec["containers"][0]["volumeMounts"] if "mountPropagation" in m]
    assert out["mountPropagation"] == "Bidirectional" and into["mountPropagation"] == "HostToContainer"
    assert out["name"] == into["name"] and kinds[out["name"]] == {"hostPath"}
    assert not any(c.get("securityContext", {}).get("privileged") for c in spec["containers"])


def test_iam_policy():
    policy = json.loads((HERE / "iam-policy.json").read_text())
    actions = {a for s in policy["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    assert {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"} <= actions


def test_readme_names_what_is_there():
    """What the README tells to run are files and targets of this tree."""
    text = (TOP / "README.md").read_text()
    for path in ("tools/package.sh", "packaging/container/Dockerfile", "packaging/kubernetes/connector-sidecar.yaml"):
        assert path in text and (TOP / path).exists()
