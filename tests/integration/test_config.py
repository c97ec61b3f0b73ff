"""The configuration as an operator meets it: stateproxyd's options, and what it says to mistakes."""

import os
import re

import pytest

from harness import CTL, DAEMON, EX_CONFIG, EX_SYSTEM, EX_USAGE, SECRET, util

from conftest import missing

ENV = {"AWS_ACCESS_KEY_ID": "accesskeyid", "AWS_SECRET_ACCESS_KEY": SECRET}
GOOD = """\
bucket: models
prefix: v2
mount:
  path: /mnt/models
s3:
  region: eu-west-1
  endpoint: http://127.0.0.1:9000
workers:
  count: 3
"""


@pytest.fixture(autouse=True)
def _built():
    if not os.access(DAEMON, os.X_OK):
        missing(f"{DAEMON} is not built")


@pytest.fixture
def config(scratch):
    def write(text):
        (scratch / "c.yaml").write_text(text)
        return scratch / "c.yaml"
    return write


def daemon(*args, **env):
    return util.run([DAEMON, *args], 20, check=False, env=util.clean_env(**{**ENV, **env}))


def check(path, **env):
    return daemon("--config", path, "--check", **env)


def test_a_good_file_passes_the_check(config):
    done = check(config(GOOD))
    assert done.code == 0, repr(done)
    assert done.err == ""


def test_the_check_starts_nothing(config, scratch):
    path = config(GOOD.replace("/mnt/models", str(scratch / "nowhere"))
                  .replace("127.0.0.1:9000", "127.0.0.1:1"))
    assert check(path).code == 0


def test_the_environment_alone_is_enough():
    done = daemon("--check", STATE_BUCKET="models", STATE_MOUNT="/mnt/x")
    assert done.code == 0, repr(done)


def test_the_check_tells_the_limits(mount):
    """And the ready line tells them as well."""
    env = {"STATEPROXY_MEMORY_LIMIT": "64Mi", "STATEPROXY_WORKERS_COUNT": "2"}
    done = daemon("--check", STATE_BUCKET="models", STATE_MOUNT="/mnt/x", **env)
    memory = re.search(r"^memory: 64Mi \(memory.limit\) for 2 workers: (\d+)Mi of cached data, (\d+) names", done.out, re.M)
    assert memory and re.search("^requests of the mount are answered within: ", done.out, re.M), repr(done)
    m = mount(env=env)
    assert f" memory=64Mi cache={memory[1]}Mi names={memory[2]} " in m.log()
    done = daemon("--check", STATE_BUCKET="models", STATE_MOUNT="/mnt/x", STATEPROXY_MEMORY_LIMIT="40Mi")
    assert done.code == EX_CONFIG and "is too small" in done.err


# -- mistakes: where, what, what was expected


def refused(done):
    """The one line that it said."""
    assert done.code == EX_CONFIG, repr(done)
    lines = [x for x in done.err.splitlines() if x.strip()]
    assert len(lines) == 1, repr(done)
    return lines[0]


@pytest.mark.parametrize("old, new, line, column, words", [
    ("bucket: models", "buket: models", 1, 1, ["buket", "did you mean bucket?"]),
    ("  region: eu-west-1", "  regoin: eu-west-1", 6, 3, ["regoin", "region"]),
    ("workers:", "worker:", 8, 1, ["worker", "workers"]),
    ("count: 3", "cuont: 3", 9, 3, ["cuont", "count"]),
    ("count: 3", "count: three", 9, 10, ["workers.count", "three", "1 to 16"]),
    ("count: 3", "count: -1", 9, 10, ["workers.count", "1 to 16"]),
    ("count: 3", "count: 10000", 9, 10, ["workers.count", "10000", "1 to 16"]),
    ("count: 3", "count: [1, 2]", 9, 10, ["workers.count"]),
    ("bucket: models", "bucket: Not A Bucket", 1, 9, ["bucket", "lower-case"]),
    ("http://127.0.0.1:9000", "ftp://x", 7, 13, ["s3.endpoint", "http://"]),
    ("path: /mnt/models", "path: relative", 4, 9, ["mount.path", "absolute"]),
    ("count: 3", "count: 3\nbuffer:\n  memory: 4 apples", 11, 11, ["buffer.memory", "64Mi"]),
    ("count: 3", "count: 3\nbuffer:\n  memory: 1Ki", 11, 11, ["buffer.memory", "64Ki"]),
    ("count: 3", "count: 3\ncache:\n  open_ttl: soon", 11, 13, ["cache.open_ttl", "250ms"]),
    ("count: 3", "count: 3\ndirectories:\n  marker: maybe", 11, 11, ["directories.marker"]),
    ("count: 3", "count: 3\nvariant: s3-buffered-xyz", 10, 10, ["variant", "s3-buffered-lww"]),
    ("count: 3", "count: 3\nbucket: again", 10, 1, ["bucket"]),
    ("count: 3", "count: 3\n  - x", 10, 3, []),
    ("count: 3", "count: 3\n\tx: y", 10, 1, []),
])
def test_a_mistake_in_the_file(config, old, new, line, column, words):
    path = config(GOOD.replace(old, new))
    said = refused(check(path))
    place = re.search(re.escape(str(path)) + r":(\d+):(\d+): ", said)
    assert place, said
    if words:           # of syntax errors the parser has its own idea of the column
        assert (int(place[1]), int(place[2])) == (line, column), said
    else:
        assert abs(int(place[1]) - line) <= 1, said
    for word in words:
        assert word in said


@pytest.mark.parametrize("name, value, words", [
    ("STATEPROXY_WORKERS_CUONT", "2", ["STATEPROXY_WORKERS_CUONT", "STATEPROXY_WORKERS_COUNT"]),
    ("STATEPROXY_WORKERS_COUNT", "two", ["STATEPROXY_WORKERS_COUNT", "two", "1 to 16"]),
    ("STATEPROXY_WORKERS_COUNT", "99999999999999999999", ["STATEPROXY_WORKERS_COUNT"]),
    ("STATE_BUCKET", "UP/PER", ["STATE_BUCKET"]),
    ("AWS_ENDPOINT_URL", "localhost:9000", ["AWS_ENDPOINT_URL", "http://"]),
])
def test_a_mistake_in_the_environment(config, name, value, words):
    said = refused(check(config(GOOD), **{name: value}))
    for word in words:
        assert word in said


def test_a_name_of_other_programs_that_is_nearly_one_of_ours(config):
    """It may be another's, so it is no mistake; but where the bucket is missing, this is why."""
    done = check(config(GOOD), STATE_PREFX="mine", STATE_PATH="x")
    assert done.code == 0 and "STATE_PREFX" in done.err and "STATE_PREFIX" in done.err, repr(done)
    assert "STATE_PATH" not in done.err
    done = daemon("--check", STATE_BUKET="models", STATE_MOUNT="/mnt/x")
    assert done.code == EX_CONFIG and "STATE_BUCKET is meant" in done.err, repr(done)


@pytest.mark.parametrize("gone, name", [("bucket: models\n", "bucket"),
                                        ("mount:\n  path: /mnt/models\n", "mount.path")])
def test_what_is_required_is_named(config, gone, name):
    assert name in refused(check(config(GOOD.replace(gone, ""))))


def test_secrets_in_the_file_are_refused_and_not_shown(config):
    said = refused(check(config(GOOD.replace("  region", "  secret_access_key: hush99\n  region"))))
    assert "hush99" not in said and "s3.secret_access_key" in said


def test_a_missing_file(scratch):
    assert "nowhere.yaml" in refused(check(scratch / "nowhere.yaml"))


def test_an_unknown_option():
    done = daemon("--chekc")
    assert done.code == EX_USAGE and "--chekc" in done.err


def test_a_start_with_a_mistake_mounts_nothing(config, scratch):
    (scratch / "mnt").mkdir()
    path = config(GOOD.replace("/mnt/models", str(scratch / "mnt")).replace("count", "cuont"))
    refused(daemon("--config", path))
    assert util.mount_entry(scratch / "mnt") is None


# -- what it prints


def test_print_config_tells_values_and_origins(config):
    path = config(GOOD)
    done = daemon("--config", path, "--print-config", STATE_PREFIX="v3",
                  STATEPROXY_BUFFER_MEMORY="8Mi")
    assert done.code == 0, repr(done)

    def line(text):
        found = [x for x in done.out.splitlines() if re.match(rf"\s*{text}: ", x)]
        assert len(found) == 1, (text, done.out)
        return found[0]
    assert "models" in line("bucket") and f"{path}:1:" in line("bucket")
    assert "v3" in line("prefix") and "STATE_PREFIX" in line("prefix")
    assert "3" in line("count") and f"{path}:9:" in line("count")
    assert "8Mi" in line("memory") and "STATEPROXY_BUFFER_MEMORY" in line("memory")
    assert "default" in line("whole_limit")


def test_print_config_hides_secrets(config):
    done = daemon("--config", config(GOOD), "--print-config", AWS_SESSION_TOKEN="tokentoken")
    for secret in (SECRET, "tokentoken", ENV["AWS_ACCESS_KEY_ID"]):
        assert secret not in done.out + done.err
    assert "redacted" in done.out


def test_print_config_is_a_file_that_means_the_same(config, scratch):
    first = daemon("--config", config(GOOD), "--print-config")
    again = daemon("--config", config(first.out), "--print-config")
    assert again.code == 0, repr(again)

    def values(text):
        return [x.partition("#")[0].rstrip() for x in text.splitlines()
                if x.partition("#")[0].strip()]
    assert values(again.out) == values(first.out)


def test_help_names_every_key():
    done = daemon("--help")
    assert done.code == 0
    for name in ("bucket", "s3.region", "workers.count", "buffer.dir", "STATE_BUCKET",
                 "AWS_ENDPOINT_URL", "STATEPROXY_WORKERS_COUNT", "--config", "--check",
                 "--print-config"):
        assert name in done.out


@pytest.mark.parametrize("program, args", [
    (DAEMON, ["--help"]), (DAEMON, ["--print-sample"]), (DAEMON, ["--print-config"]), (DAEMON, ["--check"]),
    (DAEMON, ["--version"]), (CTL, ["--help"]), (CTL, ["version"])])
def test_what_cannot_be_printed_is_a_failure(program, args):
    """stateproxyd --print-sample > FILE, on a full disk."""
    with open("/dev/full", "w") as full:
        env = util.clean_env(**ENV, STATE_BUCKET="models", STATE_MOUNT="/mnt/x")
        done = util.finish(util.spawn([program, *args], stdout=full, env=env), check=False)
    assert done.code == (EX_SYSTEM if program == DAEMON else 1), repr(done)
    assert "No space left" in done.err


def test_environment_beats_file_beats_default(config):
    out = daemon("--config", config(GOOD), "--print-config",
                 STATEPROXY_WORKERS_COUNT="5").out
    assert re.search(r"count: 5\b", out) and re.search(r"region: eu-west-1\b", out)


def test_secrets_are_nowhere_in_sight_while_it_runs(mount, bucket):
    m = mount(env={"STATEPROXY_LOG_LEVEL": "debug"})
    (m.path / "f.txt").write_bytes(b"x")
    for pid in [m.proc.pid, *util.children(m.proc.pid)]:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            assert SECRET.encode() not in f.read()
    assert SECRET not in m.log()
    assert SECRET not in m.ctl("status", "--json").out
