"""The manifests, the kustomizations and the chart: valid for Kubernetes by its own schemas, what must
hold in them, and configurations that the daemon takes."""

import copy
import json
import os
import pathlib
import subprocess

import helm_python.chart as helm
import kubernetes_validate
import pytest
import yaml

from harness import BIN_DIR, TOP

HERE = TOP / "packaging" / "kubernetes"
PLAIN = [HERE / "base/connector/connector-sidecar.yaml", HERE / "base/mount/mount-sidecar.yaml",
         HERE / "base/csi/csi-sidecar.yaml", HERE / "base/held/held-sidecar.yaml", HERE / "rbac.yaml"]
VERSIONS = ["1.29", "1.33", "1.37"]     # native sidecars since 1.29
LEAST = {"s3": {"bucket": "my-bucket", "prefix": "models/v2"}, "app": {"image": "my-app:1"}}
FULL = {**LEAST, "variant": "s3-passthrough", "metrics": {"enabled": True}, "rbac": {"create": True},
        "s3": {**LEAST["s3"], "endpoint": "http://minio:9000", "credentialsSecret": "keys"},
        "extraEnv": [{"name": "STATEPROXY_LOG_LEVEL", "value": "debug"}], "drainSeconds": 100,
        "imagePullSecrets": [{"name": "x"}], "podLabels": {"a": "b"}, "podAnnotations": {"c": "d"},
        "serviceAccount": {"annotations": {"e": "f"}}, "nodeSelector": {"g": "h"},
        "tolerations": [{"key": "i", "operator": "Exists"}],
        "app": {**LEAST["app"], "command": ["run"], "args": ["--fast"], "env": [{"name": "J", "value": "k"}],
                "resources": {"limits": {"memory": "1Gi"}}}}
VALUES = {"connector": LEAST, "mount": {**LEAST, "mode": "mount"}, "connector-full": FULL,
          "mount-full": {**FULL, "mode": "mount"}, "csi": {**LEAST, "mode": "csi"},
          **{f"{mode}-held": {**LEAST, "mode": mode, "holder": {"enabled": True}, "shareProcessNamespace": True}
             for mode in ("connector", "mount", "csi")},
          "csi-full": {**FULL, "mode": "csi", "csi": {"driver": "other.example.org", "uid": 70, "gid": 80}}}


def documents(text):
    return [d for d in yaml.safe_load_all(text) if d]


def rendered(values):
    texts = helm.Chart.load(HERE / "chart").render(values, name="demo", namespace="actors")
    return [d for name, text in texts.items() if name.endswith(".yaml") for d in documents(text)]


# ---- a kustomization, as far as ours go: resources, images, strategic merges by name

def merged(base, patch):
    """Maps are merged, lists of things with names by these, everything else is replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{k: merged(base[k], v) if k in base else v for k, v in patch.items()}}
    if isinstance(base, list) and isinstance(patch, list) and all("name" in x for x in base + patch):
        by_name = {x["name"]: x for x in base}
        by_name.update({x["name"]: merged(by_name.get(x["name"], {}), x) for x in patch})
        return list(by_name.values())
    return patch


def built(folder):
    """What `kustomize build` makes of it."""
    known = {"apiVersion", "kind", "resources", "namespace", "images", "patches"}
    (k,) = documents((folder / "kustomization.yaml").read_text())
    assert set(k) <= known and k["kind"] == "Kustomization"
    made = []
    for r in k["resources"]:
        path = folder / r
        made += built(path) if path.is_dir() else documents(path.read_text())
    for p in k.get("patches", []):
        (patch,) = documents((folder / p["path"]).read_text())
        (at,) = [i for i, d in enumerate(made) if (d["kind"], d["metadata"]["name"]) ==
                 (patch["kind"], patch["metadata"]["name"])]
        made[at] = merged(made[at], patch)
    names = {i["name"]: f'{i["newName"]}:{i["newTag"]}' for i in k.get("images", [])}
    used = set()
    for d in made:
        if "namespace" in k:
            d["metadata"]["namespace"] = k["namespace"]
        for c in containers(d):
            name = c["image"].partition(":")[0]
            if name in names:
                used.add(name)
                c["image"] = names[name]
    assert used == set(names), "an image that no container has"
    return made


def containers(document):
    spec = pod_spec(document)
    return [*spec.get("initContainers", []), *spec["containers"]] if spec else []


def pod_spec(document):
    if document["kind"] == "Deployment":
        return document["spec"]["template"]["spec"]
    return document["spec"] if document["kind"] == "Pod" else None


SETS = {
    **{p.name: lambda p=p: documents(p.read_text()) for p in PLAIN},
    **{f"kustomize-{n}": lambda n=n: built(HERE / "overlays" / n) for n in ("aws", "minio")},
    **{f"chart-{n}": lambda v=v: rendered(v) for n, v in VALUES.items()},
}
WITH_PODS = [n for n in SETS if n != "rbac.yaml"]


def sidecar_of(spec):
    (sidecar,) = [c for c in spec["initContainers"] if c["name"] == "stateproxy"]
    return sidecar


def the_pod(name):
    (spec,) = filter(None, map(pod_spec, SETS[name]()))
    return spec


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SETS)
def test_valid(name, version):
    made = SETS[name]()
    assert made
    for document in made:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_refuse_what_is_wrong():
    document = documents(PLAIN[1].read_text())[-1]
    document["spec"]["initContainers"][0]["restartPolicyy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", WITH_PODS)
def test_sidecars(name):
    spec = the_pod(name)
    sidecar = sidecar_of(spec)
    assert sidecar["restartPolicy"] == "Always" and sidecar["startupProbe"]
    assert sidecar["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
    assert spec["enableServiceLinks"] is False
    volumes = {v["name"] for v in spec["volumes"]}
    every = [*spec["initContainers"], *spec["containers"]]
    assert {m["name"] for c in every for m in c["volumeMounts"]} == volumes


@pytest.mark.parametrize("name", WITH_PODS)
def test_the_grace_is_longer_than_the_drain(name):
    """Then a mount has to be removed, with AFTER_DRAIN_NS of daemon/stop.c; and the program ends before."""
    spec = the_pod(name)
    env = {e["name"]: e.get("value") for e in sidecar_of(spec)["env"]}
    drain = int(env.get("STATEPROXY_DAEMON_DRAIN_TIMEOUT", "25s").removesuffix("s"))
    after = 19 if "STATE_MOUNT" in env else 5
    assert spec["terminationGracePeriodSeconds"] >= 30 + drain + after


@pytest.mark.parametrize("name", [n for n in WITH_PODS if "mount" in n or "minio" in n or "held-" in n])
def test_propagation(name):
    """The folder above the mount is what both have: a mount that is made anew reaches the program."""
    spec = the_pod(name)
    kinds = {v["name"]: set(v) - {"name"} for v in spec["volumes"]}
    (out,) = [m for m in sidecar_of(spec)["volumeMounts"] if "mountPropagation" in m]
    (into,) = [m for m in spec["containers"][0]["volumeMounts"] if "mountPropagation" in m]
    env = {e["name"]: e.get("value") for e in sidecar_of(spec)["env"]}
    assert out["mountPropagation"] == "Bidirectional" and into["mountPropagation"] == "HostToContainer"
    assert out["name"] == into["name"] and kinds[out["name"]] == {"hostPath"}
    assert out["mountPath"] == into["mountPath"] == os.path.dirname(env["STATE_MOUNT"])
    assert env["STATEPROXY_MOUNT_CREATE"] == "true"
    assert not any(c.get("securityContext", {}).get("privileged") for c in spec["containers"])


@pytest.mark.parametrize("name", [n for n in WITH_PODS if "connector" in n or "aws" in n or "csi" in n])
def test_no_privilege(name):
    """As the Pod Security Standard "restricted" wants it."""
    spec = the_pod(name)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    sidecar = sidecar_of(spec)
    own = {**spec["securityContext"], **sidecar["securityContext"]}
    assert own["runAsNonRoot"] and own["runAsUser"] and own["readOnlyRootFilesystem"]
    assert not own["allowPrivilegeEscalation"] and own["capabilities"] == {"drop": ["ALL"]}
    assert all(set(v) - {"name"} <= {"emptyDir", "csi"} for v in spec["volumes"])


@pytest.mark.parametrize("name", [n for n in WITH_PODS if "csi" in n])
def test_csi(name):
    """Driver and daemon mean the same socket, in a folder that the sidecar has; the driver gives it to 65534."""
    spec = the_pod(name)
    sidecar, program = sidecar_of(spec), spec["containers"][0]
    env = {e["name"]: e["value"] for e in sidecar["env"]}
    volumes = {v["name"]: v for v in spec["volumes"]}
    (state,) = [m for m in program["volumeMounts"] if "csi" in volumes[m["name"]]]
    said = volumes[state["name"]]["csi"]["volumeAttributes"]
    (folder,) = [m for m in sidecar["volumeMounts"] if m["name"] == said["fdPassingEmptyDirName"]]
    assert "emptyDir" in volumes[folder["name"]] and state["mountPropagation"] == "HostToContainer"
    assert env["STATEPROXY_MOUNT_FD_SOCKET"] == f'{folder["mountPath"]}/{said["fdPassingSocketName"]}'
    assert env["STATEPROXY_MOUNT_FD_PROTOCOL"] == "meta-fuse" and env["STATE_MOUNT"] == state["mountPath"]
    assert sidecar["securityContext"]["runAsUser"] == 65534
    assert [int(env[f"STATEPROXY_MOUNT_{k}"]) for k in ("UID", "GID")] == \
        [program["securityContext"][k] for k in ("runAsUser", "runAsGroup")]


@pytest.mark.parametrize("name", [n for n in WITH_PODS if "held" in n])
def test_holder(name):
    """It starts before the sidecar, has its user, its image and the folder of the socket, and takes its options."""
    spec = the_pod(name)
    holder, sidecar = spec["initContainers"]
    assert [holder["name"], sidecar["name"]] == ["holder", "stateproxy"] and holder["restartPolicy"] == "Always"
    assert holder["image"] == sidecar["image"]
    assert holder["resources"] == {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "16Mi"}}
    assert holder["securityContext"]["runAsUser"] == sidecar["securityContext"]["runAsUser"]
    assert holder["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in holder["securityContext"] and spec["shareProcessNamespace"] is True
    env = {e["name"]: e.get("value") for e in sidecar["env"]}
    assert holder["volumeMounts"] == [{"name": "hold", "mountPath": "/hold"}]
    assert holder["volumeMounts"][0] in sidecar["volumeMounts"]
    assert not any(m["name"] == "hold" for m in spec["containers"][0]["volumeMounts"])
    command = holder["args"]
    assert command[:3] == ["hold", "--socket", env["STATEPROXY_DAEMON_HOLDER"]] and command[3] == "--deadline"
    done = subprocess.run([pathlib.Path(BIN_DIR) / "stateproxyd", *command, "--help"], text=True, capture_output=True)
    assert done.returncode == 0 and "--deadline" in done.stdout, done.stderr


def test_no_holder_unless_asked_for():
    spec = the_pod("chart-mount")
    assert len(spec["initContainers"]) == 1 and "shareProcessNamespace" not in spec
    assert "HOLDER" not in str(spec) and not any(v["name"] == "hold" for v in spec["volumes"])


def test_held_by_kustomization():
    assert built(HERE / "base/held") == documents((HERE / "base/held/held-sidecar.yaml").read_text())


def test_csi_by_kustomization():
    assert built(HERE / "base/csi") == documents(PLAIN[2].read_text())


@pytest.mark.parametrize("name", WITH_PODS)
def test_the_daemon_takes_the_configuration(name):
    """Every variable is one that it knows, with a value that it takes."""
    env = {e["name"]: e["value"] for e in sidecar_of(the_pod(name))["env"] if "value" in e}
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    done = subprocess.run([pathlib.Path(BIN_DIR) / "stateproxyd", "--check"], env={**env, **keys}, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unknown" not in done.stderr, done.stderr


# ---- the chart

def test_lint():
    report = helm.lint(HERE / "chart", LEAST, strict=True)
    assert not report["errors"] and all(m["severity"] < 2 for m in report["messages"]), report


@pytest.mark.parametrize("wrong", [
    {"app": LEAST["app"]}, {"s3": LEAST["s3"]}, {**LEAST, "mode": "pod"}, {**LEAST, "variant": "s3"},
    {**LEAST, "mode": "csi", "csi": {"uid": 0}}, {**LEAST, "holder": {"deadline": "2 minutes"}},
    {**LEAST, "drainSeconds": "25s"}, {**LEAST, "resource": {}},
    {**LEAST, "s3": {"bucket": "b-1", "endpoint": "minio:9000"}}], ids=str)
def test_wrong_values_are_refused(wrong):
    chart = helm.Chart.load(HERE / "chart")
    with pytest.raises(Exception):
        chart.validate_schema(chart.merge_values(wrong))


def test_values_that_are_right():
    chart = helm.Chart.load(HERE / "chart")
    for values in VALUES.values():
        chart.validate_schema(chart.merge_values(values))


@pytest.mark.parametrize("mode", ["connector", "mount", "csi"])
def test_the_variant_holds_whatever_the_image(mode):
    """A tag of one's own may be an image of another variant."""
    values = {**LEAST, "mode": mode, "variant": "s3-buffered-lww", "image": {"tag": "s3-passthrough"}}
    (spec,) = filter(None, map(pod_spec, rendered(values)))
    assert {"name": "STATE_VARIANT", "value": "s3-buffered-lww"} in sidecar_of(spec)["env"]


def test_every_value_is_described_and_used():
    """Nothing in values.yaml that the schema or the templates do not know."""
    values = yaml.safe_load((HERE / "chart/values.yaml").read_text())
    schema = json.loads((HERE / "chart/values.schema.json").read_text())["properties"]
    text = "".join(p.read_text() for p in (HERE / "chart/templates").iterdir())
    for name, value in values.items():
        assert name in schema
        for path in [f"{name}.{k}" for k in schema[name]["properties"]] if "properties" in schema[name] else [name]:
            assert f".Values.{path}" in text, path
        if "properties" in schema[name]:
            assert set(value) <= set(schema[name]["properties"])


def test_notes():
    for values in VALUES.values():
        texts = helm.Chart.load(HERE / "chart").render(values, name="demo", namespace="actors")
        (notes,) = [t for n, t in texts.items() if n.endswith("NOTES.txt")]
        assert "s3://my-bucket/models/v2" in notes and "-n actors" in notes


def test_the_chart_is_of_this_version():
    chart = yaml.safe_load((HERE / "chart/Chart.yaml").read_text())
    configured = (TOP / "configure.ac").read_text()
    assert f"[{chart['appVersion']}]" in configured


def test_kustomizations_change_what_they_say():
    aws = {d["kind"]: d for d in built(HERE / "overlays/aws")}
    assert all(d["metadata"]["namespace"] == "actors" for d in aws.values())
    sidecar = containers(aws["Deployment"])[0]
    assert sidecar["image"] == "registry.example.com/stateproxy:s3-buffered-cas"
    assert {"name": "AWS_REGION", "value": "eu-west-1"} in sidecar["env"] and len(sidecar["env"]) > 3
    assert copy.deepcopy(aws) == {d["kind"]: d for d in built(HERE / "overlays/aws")}


def test_iam_policy():
    policy = json.loads((HERE / "iam-policy.json").read_text())
    actions = {a for s in policy["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    assert {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"} <= actions
