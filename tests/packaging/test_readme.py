"""What the documents tell to type, run as it stands there; without a container engine, a cluster or dnf,
looked at and played by hand. A block that no test names fails test_every_block_is_known."""

import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys

import helm_python.chart as helm
import kubernetes_validate
import pytest
import yaml

from box import Box
from conftest import USER, VOLUMES
from documents import READ, blocks
from harness import ACCESS, BIN_DIR, SECRET, TOP, util
from test_container import DOCKERFILE, ask
from test_kubernetes import VERSIONS, built, documents, pod_spec, sidecar_of

FOUND = {b.key: b for path in READ for b in blocks(path)}
NAMED = []


def shown(path, heading, number=1):
    """That block of that document: the tests of this file try it."""
    key = path, heading, number
    NAMED.append(key)
    return FOUND.get(key)


TRY_IT = shown("README.md", "Try it")
BUILD = shown("README.md", "Build and install")
DEBIAN = shown("README.md", "Debian 12", 1)
SERVICE = shown("README.md", "Debian 12", 2)
RPM = shown("README.md", "RPM")
IMAGE = shown("README.md", "Container")
KUBERNETES = shown("README.md", "Kubernetes")
RUN = shown("README.md", "Run", 1)
CURL = shown("README.md", "Run", 2)
TREE = shown("README.md", "Where things are")
BUILDING = shown("CONTRIBUTING.md", "Building", 1)
BY_HAND = shown("CONTRIBUTING.md", "Building", 2)
ASYA = shown("docs/ASYA.md", "Only another image", 1)
ASYA_CURL = shown("docs/ASYA.md", "Only another image", 2)
COUNTER = shown("docs/COMPARE-AND-SET.md", "A counter", 1)
COUNTER_SH = shown("docs/COMPARE-AND-SET.md", "A counter", 3)
LOCK = shown("docs/COMPARE-AND-SET.md", "A lock file")
HOLDER = shown("docs/OPERATIONS.md", "Where no service manager keeps them: a holder")
FSTAB = shown("docs/OPERATIONS.md", "As a service, or from fstab")
CSI = shown("docs/OPERATIONS.md", "A mount from a CSI driver")
SCRAPE = shown("docs/OPERATIONS.md", "Metrics")
JOURNAL = shown("docs/OPERATIONS.md", "The form of log lines", 2)
SUITES = shown("docs/SUITES.md", "Suites of other projects")
DEBIAN_README = shown("packaging/debian/README.Debian", "")
# Nothing in them can be run.
shown("docs/COMPARE-AND-SET.md", "A counter", 2)        # two lines of C
shown("docs/OPERATIONS.md", "The form of log lines", 1)

# What a reader has to put in: the block, what stands there, what stands for it here. (The server is
# put in as README.md says, by AWS_ENDPOINT_URL.)
KEYS = [("AWS_ACCESS_KEY_ID=…", "AWS_ACCESS_KEY_ID={access}"),
        ("AWS_SECRET_ACCESS_KEY=…", "AWS_SECRET_ACCESS_KEY={secret}")]
PUT_IN = [
    (BUILD, "DESTDIR=/tmp/stateproxy", "DESTDIR={folder}"),
    (DEBIAN, "aws_access_key_id = …", "aws_access_key_id = {access}"),
    (DEBIAN, "aws_secret_access_key = …", "aws_secret_access_key = {secret}"),
    (DEBIAN, "my-bucket/prefix", "{bucket}/prefix"),
    (SERVICE, "bucket: my-bucket", "bucket: {bucket}"),
    (IMAGE, "STATE_BUCKET=my-bucket", "STATE_BUCKET={bucket}"),
    (RUN, "STATE_BUCKET=models", "STATE_BUCKET={bucket}"),
    *[(RUN, there, here) for there, here in KEYS],
    (ASYA, "value: my-bucket", "value: {bucket}"),
    (HOLDER, "… stateproxyd", "STATE_BUCKET={bucket} STATE_MOUNT=/mnt/models AWS_ACCESS_KEY_ID={access} "
                              "AWS_SECRET_ACCESS_KEY={secret} stateproxyd"),
]
ENDPOINT = "For another server than AWS set `AWS_ENDPOINT_URL`"


def filled(block, bucket=None, folder=None):
    text = block.text
    values = {"{bucket}": bucket and bucket.bucket, "{access}": ACCESS, "{secret}": SECRET, "{folder}": str(folder)}
    for _, there, here in [p for p in PUT_IN if p[0] is block]:
        assert there in text, f"{block} no longer has {there}"
        for name, value in values.items():
            here = here.replace(name, value) if name in here else here
        text = text.replace(there, here)
    assert "…" not in text, f"{block}: what is to be put in for … is not in PUT_IN"
    return text


def commands(text):
    """The commands of a block, as words."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    words = [w for line in lines for w in [*shlex.split(line, comments=True), "&&"]]
    out = [[]]
    for word in words:
        out[-1].append(word) if word != "&&" else out.append([])
    return [c for c in out if c]


def test_every_block_is_known():
    assert len(set(NAMED)) == len(NAMED)
    assert not [repr(b) for key, b in FOUND.items() if key not in NAMED], "not tried"
    assert not [key for key in NAMED if key not in FOUND], "no longer there"


def test_the_server_is_put_in_as_the_readme_says():
    assert ENDPOINT in (TOP / "README.md").read_text()


# ---- from the tree

def is_program(path):
    return os.access(TOP / path, os.X_OK) and not (TOP / path).is_dir()


@pytest.fixture
def tree(tmp_path):
    """The top of the tree, as it is after tools/build.sh, which has nothing to do here."""
    tree = tmp_path / "tree"
    for folder in ("build", "tools"):
        (tree / folder).mkdir(parents=True)
    links = {"GNUmakefile": TOP / "GNUmakefile", "build/default": BIN_DIR, "stateproxyd": BIN_DIR / "stateproxyd",
             "stateproxyctl": BIN_DIR / "stateproxyctl",
             **{f"tools/{p.name}": p for p in (TOP / "tools").iterdir() if p.name != "build.sh"}}
    for name, to in links.items():
        (tree / name).symlink_to(to.resolve())
    (tree / "tools/build.sh").write_text("#!/bin/sh\n")
    (tree / "tools/build.sh").chmod(0o755)
    return tree


def test_scripts():
    """They are there, and what they are given is known to them."""
    for block in (TRY_IT, BUILDING, BY_HAND):
        for words in commands(block.text):
            if words[0] in ("mkdir", "cd", "make"):
                continue
            program = words[0].removeprefix("./").removeprefix("../../")
            assert program == "configure" or is_program(program), f"{block}: {program}"
            if program == "tools/install-deps.sh":
                script = (TOP / program).read_text()
                assert all(f"\n    {kind}) " in script for kind in words[1:]), f"{block}: {words}"
            if program == "configure":
                known = (TOP / "configure.ac").read_text()
                assert all(f"AC_ARG_ENABLE([{w[9:]}]" in known for w in words if w.startswith("--enable-")), words
    assert is_program("tools/build.sh")


def test_quickstart(tree):
    """In namespaces of its own, so that its mounts and processes end with it."""
    (start, *_) = commands(TRY_IT.text)
    caches = {n: os.environ[n] for n in ("STATEPROXY_CACHE", "XDG_CACHE_HOME") if n in os.environ}
    alone = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    done = util.run([*alone, *start], 100, env={**util.clean_env(), **caches}, cwd=tree)
    assert "\nAll is as it should be." in done.out, repr(done)


def test_make_install(tree, tmp_path):
    folder = tmp_path / "installed"
    build, install = commands(filled(BUILD, folder=folder))
    assert build == ["tools/build.sh"]
    util.run(install, env=util.clean_env(), cwd=tree)
    names = {p.name for p in folder.rglob("*")}
    assert {"stateproxyd", "stateproxyctl", "mount.stateproxy", "stateproxyd.8", "README.md"} <= names


def test_tree():
    for line in TREE.text.splitlines():
        assert (TOP / line.split()[0]).is_dir(), line


def test_suites():
    for words in commands(SUITES.text):
        assert is_program(words[0])
        said = util.run([sys.executable, TOP / "tests/suites/suites.py", "--help"], env=util.clean_env()).out
        assert all(w in said for w in words[1:] if "://" not in w), words


# ---- Debian and RPM, each in a Debian of its own

def source_tree(box, deb):
    """Where the lines of README.md are typed; tools/package.sh has made this package there."""
    tree = box.path("/root/tree")
    (tree / "tools").mkdir(parents=True)
    (tree / deb.name).write_bytes(deb.read_bytes())
    script = tree / "tools" / "package.sh"
    script.write_text(f'#!/bin/sh\n[ "$*" = deb ] && echo /root/tree/{deb.name}\n')
    script.chmod(0o755)


def typed(box, text, bucket, where="/root"):
    return box.run(["bash", "-euc", f"cd {where}\n{text}"], env={"AWS_ENDPOINT_URL": bucket.endpoint})


def fstab_serves(box, bucket):
    box.run("echo hello >/mnt/x/a.txt")
    assert bucket.get("prefix/a.txt") == b"hello\n"
    assert any("s3-buffered-cas" in line for line in box.run("stateproxyctl status").out.splitlines())
    box.run("umount /mnt/x")


def begin(box, path):
    """Opens that file, and writes a line."""
    writer = box.spawn(f"exec 3>{path}; echo one >&3; echo begun; read _; echo two >&3; exec 3>&-",
                       stdin=subprocess.PIPE)
    assert writer.stdout.readline() == b"begun\n"
    return writer


def end(writer):
    """Writes another line, and closes it."""
    writer.stdin.write(b"\n")
    writer.stdin.flush()
    return util.finish(writer, check=False)


@pytest.mark.timeout(180)
def test_debian(booted, bucket, deb):
    source_tree(booted, deb)
    typed(booted, filled(DEBIAN, bucket), bucket, "/root/tree")
    assert booted.run("stat -c %a /etc/stateproxy/credentials").out == "600\n"
    fstab_serves(booted, bucket)

    booted.path("/etc/default/stateproxy").write_text(f"AWS_ENDPOINT_URL={bucket.endpoint}\n")
    typed(booted, filled(SERVICE, bucket), bucket)
    booted.run("echo hello >/mnt/models/a.txt")
    assert bucket.get("models/v2/a.txt") == b"hello\n"
    assert booted.run("systemctl is-enabled stateproxy@models").out == "enabled\n"

    # an upload fails, and the journal is asked as docs/OPERATIONS.md says
    writer = begin(booted, "/mnt/models/a.bin")
    there = bucket.root / bucket.bucket / "models/v2/a.bin"
    there.unlink()
    there.mkdir()           # the server takes no file there
    end(writer)
    by_key, as_json = [shlex.join(words) for words in commands(JOURNAL.text)]
    util.wait_until(lambda: "upload failed" in booted.run(by_key).out, 20, "the line in the journal", every=0.1)
    entries = [json.loads(line) for line in booted.run(as_json).out.splitlines()]
    failed = [e for e in entries if e["MESSAGE"].startswith("upload failed")]
    asked = re.search(r"--output-fields=(\S+)", as_json).group(1).split(",")
    assert failed and all(set(asked) <= set(e) for e in failed), failed


def test_lines_of_fstab(installed):
    """Options of the lines that documents show: only checked, as they name no keys."""
    for block in (FSTAB, DEBIAN_README):
        source, where, kind, options, *numbers = block.text.split()
        assert (kind, numbers) == ("stateproxy", ["0", "0"])
        installed.run(["mount.stateproxy", source, where, "-f", "-o", options],
                      env={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})


def test_rpm(box, bucket, rpm, tmp_path):
    """rpm itself installs it, in a Debian; here is no dnf, and no distribution that has one."""
    tool, make, take = commands(RPM.text)
    assert tool == ["apt", "install", "rpm"] and make == ["tools/package.sh", "rpm"]
    assert take[:2] == ["dnf", "install"] and len(take) == 3 and rpm in TOP.glob(take[2])
    b = box()
    # (sqlite follows /proc/PID/root by its name: the database is in that folder of this machine)
    util.run(["rpm", "--root", b.path("/"), "--dbpath", tmp_path, "--install", "--nodeps", rpm])
    needs = util.run(["rpm", "-qp", "--requires", rpm]).out
    libraries = set(re.findall(r"^(lib[^(\s]+\.so[.\d]*)", needs, re.M))
    assert libraries <= set(b.run("ldconfig -p").out.split())
    glibc = max((int(a), int(b)) for a, b in re.findall(r"GLIBC_(\d+)\.(\d+)", needs))
    section = " ".join((TOP / "README.md").read_text().partition("### RPM\n")[2].partition("\n### ")[0].split())
    assert f"glibc ({glibc[0]}.{glibc[1]} or later)" in section
    assert set(re.findall(r"`(lib\S+\.so\.\d+)`", section)) <= libraries
    # from the credentials on
    first, rest = filled(DEBIAN, bucket).split("\n", 1)
    assert first.startswith("apt ")
    typed(b, rest, bucket)
    fstab_serves(b, bucket)


# ---- the image: what docker would do with these lines

def stages():
    """name -> (the stage it begins from, its lines)"""
    out = {}
    for line in DOCKERFILE.read_text().splitlines():
        if m := re.match(r"FROM (\S+) AS (\S+)", line):
            lines = []
            out[m.group(2)] = m.group(1), lines
        elif out:
            lines.append(line)
    return out


def instructions(target, name):
    """The arguments of that instruction in a stage and those that it begins from; the first of them first."""
    found, known = [], stages()
    while target in known:
        target, lines = known[target]
        found = [line.split(None, 1)[1] for line in lines if line.startswith(f"{name} ")] + found
    return found


def test_docker(container, bucket, image):
    build, run = commands(filled(IMAGE, bucket))
    parser = argparse.ArgumentParser()
    parser.add_argument("-f", type=pathlib.Path)
    parser.add_argument("--target", choices=stages())
    parser.add_argument("-t")
    parser.add_argument("context")
    assert build[:2] == ["docker", "build"]
    built_by = parser.parse_args(build[2:])
    assert TOP / built_by.f == DOCKERFILE and built_by.context == "."

    parser = argparse.ArgumentParser()
    for flag in ("--rm", "--read-only"):
        parser.add_argument(flag, action="store_true")
    for option in ("--tmpfs", "-v", "-e"):
        parser.add_argument(option, action="append")
    parser.add_argument("image")
    assert run[:2] == ["docker", "run"]
    options = parser.parse_args(run[2:])
    assert options.image == built_by.t and options.read_only
    assert instructions(built_by.target, "USER") == [f"{USER}:{USER}"]
    # a volume is at first as the folder is in the image
    named = [v.partition(":")[2] for v in options.v]
    modes = {v: oct(os.stat(f"{image}{v}").st_mode & 0o1777)[2:] for v in named}
    volumes = {**{where: "1777" for where in options.tmpfs}, **modes,
               **{where: "1777" for v in instructions(built_by.target, "VOLUME") for where in json.loads(v)}}
    assert volumes == VOLUMES
    outside = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    env = dict(v.split("=", 1) for v in instructions(built_by.target, "ENV"))
    env.update(e.split("=", 1) if "=" in e else (e, outside[e]) for e in options.e)
    proc, pid = container({**env, "AWS_ENDPOINT_URL": bucket.endpoint}, volumes)
    assert ask(pid, "PUT", "/keys/a.bin", b"hello", env["CONNECTOR_SOCKET"])[0] == 204
    assert bucket.get("models/v2/a.bin") == b"hello"
    util.kill(pid, signal.SIGTERM)
    assert proc.wait(30) == 0


def test_image_for_a_csi_driver(image):
    """What docs/OPERATIONS.md builds upon the image."""
    lines = re.sub(r"\\\n\s*", "", CSI.text).splitlines()
    said = {name: rest.split() for name, rest in (line.split(None, 1) for line in lines)}
    (base,) = said["FROM"]
    assert base.removeprefix("stateproxy:") in stages()
    assert said["COPY"][0] == f"--from={base}" and pathlib.Path(image + said["COPY"][1]).exists()
    env = dict(e.split("=", 1) for e in said["ENV"])
    util.run([BIN_DIR / "stateproxyd", "--check"], env={**env, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    assert said["STOPSIGNAL"] == ["SIGWINCH"]


# ---- Kubernetes: what the lines hand over, by Helm's own engine and by kustomize where kubectl has it

def kubernetes_lines():
    return {" ".join(words[:2]): words[2:] for words in commands(KUBERNETES.text)}


def in_order(made):
    """The same for lists whose order says nothing: of documents, and of things with names."""
    if isinstance(made, dict):
        return {k: in_order(v) for k, v in made.items()}
    if isinstance(made, list) and all(isinstance(x, dict) for x in made):
        return sorted(map(in_order, made), key=lambda x: str(x.get("kind") or x.get("name")))
    return made


def test_kubectl():
    lines = kubernetes_lines()
    assert set(lines) == {"kubectl create", "kubectl apply", "helm install"}
    option, folder = lines["kubectl apply"]
    assert option == "-k"
    made = built(TOP / folder)
    for document in made:
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)
        assert lines["kubectl create"] == ["namespace", document["metadata"]["namespace"]]
    if shutil.which("kubectl"):
        theirs = util.run(["kubectl", "kustomize", TOP / folder]).out
        assert in_order(documents(theirs)) == in_order(made)


def test_helm():
    """The values of the line make a pod that the daemon takes."""
    name, folder, option, pairs = kubernetes_lines()["helm install"]
    assert option == "--set"
    values = {}
    for pair in pairs.split(","):
        path, _, value = pair.partition("=")
        *parents, last = path.split(".")
        at = values
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    chart = helm.Chart.load(TOP / folder)
    chart.validate_schema(chart.merge_values(values))
    texts = chart.render(values, name=name, namespace="default")
    made = [d for file, text in texts.items() if file.endswith(".yaml") for d in documents(text)]
    assert {d["metadata"]["name"] for d in made} == {name}
    for document in made:
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)
    (spec,) = filter(None, map(pod_spec, made))
    env = {e["name"]: e["value"] for e in sidecar_of(spec)["env"] if "value" in e}
    assert (env["STATE_BUCKET"], env["STATE_PREFIX"]) == (values["s3"]["bucket"], values["s3"]["prefix"])
    util.run([BIN_DIR / "stateproxyd", "--check"], env={**env, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})


# ---- by hand, on this machine as it is; what is changed in it is lost

@pytest.fixture
def here(guard):
    b = Box("/", guard)
    for name in ("stateproxyd", "stateproxyctl"):
        for path in (b.path(f"/root/{name}"), b.path(f"/usr/local/bin/{name}")):
            path.write_bytes((BIN_DIR / name).read_bytes())
            path.chmod(0o755)
    b.path("/root/model.bin").write_bytes(b"a model")
    yield b
    b.stop()


def serving(box, bucket, line, env=None):
    """Starts a daemon by that line, and waits until it serves."""
    log = box.path("/root/log")
    with log.open("w") as out:
        proc = box.spawn(["bash", "-c", f"cd /root\n{line}"], stderr=out,
                         env={"AWS_ENDPOINT_URL": bucket.endpoint, **(env or {})})
    util.wait_until(lambda: " ready " in log.read_text() or proc.poll() is not None, 20, "the ready line")
    assert proc.poll() is None, log.read_text()
    return proc


def drained(box, proc):
    box.run("stateproxyctl drain")
    util.finish(proc)


def test_run(here, bucket):
    """With a socket beside the mount."""
    proc = serving(here, bucket, filled(RUN, bucket), {"CONNECTOR_SOCKET": "/run/models.sock"})
    typed(here, CURL.text, bucket)
    assert bucket.get("llama/v2/model.bin") == b"a model"
    assert here.run("cat /mnt/models/model.bin").out == "a model"
    drained(here, proc)


def test_asya(here, bucket):
    (told,) = yaml.safe_load(filled(ASYA, bucket))["containers"]
    env = {e["name"]: e["value"] for e in told["env"]}
    (volume,) = told["volumeMounts"]
    assert os.path.dirname(env["CONNECTOR_SOCKET"]) == volume["mountPath"]
    here.run(["mkdir", "-p", volume["mountPath"]])
    proc = serving(here, bucket, "stateproxyd", {**env, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET})
    put, listed = ASYA_CURL.text.splitlines()
    typed(here, put, bucket)
    assert bucket.get("models/v2/model.bin") == b"a model"
    assert json.loads(typed(here, listed, bucket).out)["keys"] == ["model.bin"]
    assert "s3-buffered-cas" in here.run("stateproxyctl status").out
    drained(here, proc)


def test_holder(here, bucket):
    hold, start = filled(HOLDER, bucket).splitlines()
    for folder in ("/hold", "/mnt/models"):
        here.path(folder).mkdir()
    said = here.path("/root/holder.log")
    with said.open("w") as log:
        holder = here.spawn(hold, stderr=log)
    util.wait_until(lambda: here.path("/hold/stateproxy.sock").exists(), 20, "the holder")
    before = here.pids("stateproxyd")
    proc = serving(here, bucket, start)
    writer = begin(here, "/mnt/models/a.txt")
    util.wait_until(lambda: " kept " in said.read_text(), 20, "what the holder has")
    for pid in set(here.pids("stateproxyd")) - set(before):
        here.run(["kill", "-KILL", pid], check=False)
    util.finish(proc, check=False)
    proc = serving(here, bucket, start)
    assert end(writer).code == 0, said.read_text()
    assert bucket.get("a.txt") == b"one\ntwo\n"
    drained(here, proc)
    here.run(["kill", *before])
    util.finish(holder)


def test_programs_of_compare_and_set(here, bucket):
    here.path("/mnt/models").mkdir()
    proc = serving(here, bucket, "stateproxyd", {
        "STATE_BUCKET": bucket.bucket, "STATE_MOUNT": "/mnt/models", "STATE_VARIANT": "s3-buffered-cas",
        "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET})
    bucket.put("count.json", b'{"count": 0}')
    script = f"{COUNTER.text}\nfor _ in range(5):\n    increment('count.json')\n"
    twice(here, bucket, ["python3", "-c", script])
    assert json.loads(bucket.get("count.json")) == {"count": 10}
    bucket.put("counter", b"0\n")
    twice(here, bucket, ["bash", "-euc", f"for i in 1 2 3; do\n{COUNTER_SH.text}done"])
    assert bucket.get("counter") == b"6\n"
    script = f"{LOCK.text}\nassert acquire('l', 'a') and not acquire('l', 'b')\nrelease('l')\n" \
             "assert acquire('l', 'b')\n"
    typed(here, shlex.join(["python3", "-c", script]), bucket, "/mnt/models")
    assert bucket.get("l") == b"b"
    drained(here, proc)


def twice(box, bucket, words):
    """Two at the same time."""
    for proc in [box.spawn(["bash", "-c", f"cd /mnt/models\n{shlex.join(words)}"]) for _ in range(2)]:
        util.finish(proc)


# ---- monitoring

def test_scrape():
    """The name of the job is the one that the rules expect."""
    (job,) = yaml.safe_load(SCRAPE.text)["scrape_configs"]
    rules = (TOP / "packaging/prometheus/stateproxy.rules.yml").read_text()
    assert f'job="{job["job_name"]}"' in rules
    (where,) = job["static_configs"][0]["targets"]
    env = {"STATEPROXY_METRICS_LISTEN": where, "STATE_BUCKET": "my-bucket", "STATE_MOUNT": "/mnt",
           "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    util.run([BIN_DIR / "stateproxyd", "--check"], env=env)
