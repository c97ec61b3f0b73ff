"""Credentials on a mount: every source works, they are refreshed under load, what S3 refuses is fetched anew, and the
secret is nowhere but where it is used. The sources are tests/tools/credserver.py, as strict as the real ones."""

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import threading
import time

import pytest

from credserver import ACCOUNT, CredServer, iso
from harness import ACCESS, CTL, DAEMON, EX_CONFIG, EX_S3, SECRET, metrics, util
from harness.memory import memory_of
from harness.tls import Authority, TlsFront

ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
CAS, LWW = "s3-buffered-cas", "s3-buffered-lww"
NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None,
           "AWS_EC2_METADATA_DISABLED": "true"}


class Source(CredServer):
    """Issues the keys of the S3 server, each time with another token. `life`: how long they live, in seconds."""

    def __init__(self, directory):
        super().__init__(self.next)
        self.dir = directory
        self.life = 3600
        self.n = 0
        self.roles = {ROLE: None}
        self.keys = {"BASE": ("base/secret", "")}

    def next(self, kind):
        with self.lock:
            self.n += 1
            return ACCESS, SECRET, f"token-{self.n}", self.life

    def file(self, name, text):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        new.rename(path)                # as a kubelet does it
        return path

    # -- what a mount's environment says

    def web_identity(self, token="web-1"):
        self.web_tokens = {token}
        return {**NO_KEYS, "AWS_ROLE_ARN": ROLE, "AWS_ENDPOINT_URL_STS": self.url,
                "AWS_WEB_IDENTITY_TOKEN_FILE": self.file("web-token", token)}

    def profile(self, config="", credentials="", **env):
        return {**NO_KEYS, "HOME": self.dir, "AWS_ENDPOINT_URL_STS": self.url,
                "AWS_ENDPOINT_URL_SSO": self.url, "AWS_PROFILE": "x",
                "AWS_CONFIG_FILE": self.file("config", config),
                "AWS_SHARED_CREDENTIALS_FILE": self.file("credentials", credentials), **env}

    def static(self, secret=SECRET):
        return self.profile("", f"[x]\naws_access_key_id = {ACCESS}\n"
                                f"aws_secret_access_key = {secret}\n")

    def assume(self):
        return self.profile(f"[profile x]\nrole_arn = {ROLE}\nsource_profile = base\n",
                            "[base]\naws_access_key_id = BASE\n"
                            "aws_secret_access_key = base/secret\n")

    def program(self):
        said = json.dumps({"Version": 1, "AccessKeyId": ACCESS, "SecretAccessKey": SECRET,
                           "Expiration": iso(time.time() + 3600)})
        path = self.file("program", f"#!/bin/sh\necho '{said}'\n")
        path.chmod(0o755)
        return self.profile(f"[profile x]\ncredential_process = {path}\n")

    def sso(self):
        self.sso_token = "sso-token"
        name = hashlib.sha1(b"corp").hexdigest()
        self.file(f".aws/sso/cache/{name}.json", json.dumps(
            {"accessToken": "sso-token", "expiresAt": iso(time.time() + 600)}))
        return self.profile(f"[profile x]\nsso_session = corp\nsso_account_id = {ACCOUNT}\n"
                            "sso_role_name = reader\n[sso-session corp]\nsso_region = us-east-1\n"
                            "sso_start_url = https://corp.example/start\n")

    def pod_identity(self, token="Bearer-1"):
        self.container_paths = {"/v1/credentials": {token}}
        return {**NO_KEYS, "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url + "/v1/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": self.file("pod-token", token)}

    def instance(self):
        self.instance_role = "web-server"
        return {**NO_KEYS, "AWS_EC2_METADATA_DISABLED": "false",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url}


@pytest.fixture
def source(scratch):
    made = Source(scratch).start()
    yield made
    made.stop()


@pytest.fixture
def proxy(proxy):
    """The S3 server knows no session tokens: they end here, and each request is signed without."""
    proxy.add_rule("strip", headers=["x-amz-security-token"])
    return proxy


def works(m, name="f.txt", data=b"data"):
    (m.path / name).write_bytes(data)
    assert (m.path / name).read_bytes() == data


def keeper(m):
    return m.status()["keepers"][0]["pid"]


def news(m):
    return m.status()["credentials"]


def tokens(proxy):
    """Session tokens of S3 requests, in the order in which they came first."""
    return list(dict.fromkeys(x.headers.get("x-amz-security-token") for x in proxy.log()))


def refuse(proxy, token, code="ExpiredToken", status=400, **how):
    return proxy.add_rule("answer", status=status, code=code,
                          having={"x-amz-security-token": token}, **how)


# -- each source

@pytest.mark.parametrize("kind, provider, account, expires", [
    ("web_identity", "web identity", ACCOUNT, True),
    ("static", 'profile "x": keys', "", False),
    ("assume", f'profile "x": role {ROLE}', ACCOUNT, True),
    ("program", 'profile "x": credential_process', "", True),
    ("sso", 'profile "x": SSO', ACCOUNT, True),
    ("pod_identity", "container", ACCOUNT, True),
    ("instance", "instance metadata", "", True)])
def test_each_source(mount, source, proxy, kind, provider, account, expires):
    env = getattr(source, kind)()
    m = mount(via=proxy, env=env)
    works(m)
    n = news(m)
    assert (n["provider"], n["account"], n["error"]) == (provider, account, "")
    assert (n["refreshes"], n["failures"]) == (1, 0)
    assert (n["expires"] != "never") == expires
    assert f'provider="{provider}"' in m.log()
    assert tokens(proxy) == (["token-1"] if source.issued else [None])
    text = m.ctl("status").out
    assert provider in text and (account or "unknown") in text
    checked = util.run([DAEMON, "--check"], 20, env=util.clean_env(**{**m.env, **env_of(env)}))
    assert f"credentials come from: {provider}" in checked.out
    assert len(source.issued) <= 1      # --check asks nobody


def env_of(env):
    return {n: v for n, v in env.items() if v is not None}


def test_the_environment(mount, proxy):
    m = mount(via=proxy, env={"AWS_SESSION_TOKEN": "mine"})
    works(m)
    assert news(m)["provider"] == "environment" and news(m)["expires"] == "never"
    assert tokens(proxy) == ["mine"]


def test_the_environment_takes_no_time(mount):
    """Both processes that it takes at the start: fetching, and the keeper itself."""
    begin = time.monotonic()
    m = mount(noise=None)
    assert time.monotonic() - begin < 5
    assert m.status()["keepers"][0]["restarts"] == 0


# -- HTTPS

@pytest.fixture
def tls(source, scratch):
    """tls(client_ca) -> a TLS server before the source, whose CA is in tls.env, and a client certificate of it."""
    authority, made = Authority(scratch), []
    cert, key = authority.issue("client.example")
    key.chmod(0o600)

    def make(**kwargs):
        made.append(TlsFront(source.port, *authority.issue("127.0.0.1"), **kwargs))
        return made[-1]
    make.authority = authority
    make.env = {"AWS_CA_BUNDLE": authority.path}
    make.client = {"STATEPROXY_S3_CLIENT_CERT": cert, "STATEPROXY_S3_CLIENT_KEY": key}
    yield make
    for front in made:
        front.close()


@pytest.mark.parametrize("kind", ["web_identity", "assume", "sso", "pod_identity"])
def test_sources_over_tls(mount, source, proxy, tls, kind):
    """Of a CA of one's own, with a client certificate, as private clouds want it."""
    front = tls(client_ca=tls.authority.path)
    env = {n: str(v).replace(source.url, front.endpoint()) if v is not None else None
           for n, v in {**getattr(source, kind)(), **tls.env, **tls.client}.items()}
    m = mount(via=proxy, env=env)
    works(m)
    assert news(m)["refreshes"] == 1 and source.n == 1
    assert {h.subject for h in front.handshakes} == {((("commonName", "client.example"),),)}


def test_a_source_over_tls_is_checked(mount, source, proxy, tls):
    plain, strict = tls(), tls(client_ca=tls.authority.path, versions=["TLSv1_2"])
    web = source.web_identity()
    refused(mount(start=False, env={**web, "AWS_ENDPOINT_URL_STS": plain.endpoint()}), EX_CONFIG,
            "web identity", "no trusted TLS connection")
    refused(mount(start=False, env={**web, **tls.env, "AWS_ENDPOINT_URL_STS": plain.endpoint("localhost")}),
            EX_CONFIG, "no trusted TLS connection")
    refused(mount(start=False, env={**web, **tls.env, "AWS_ENDPOINT_URL_STS": strict.endpoint()}), EX_S3,
            "web identity", "s3.client_cert")
    assert source.requests == []


def test_the_address_of_the_metadata_service(mount):
    """That of IPv6 on demand. Without a network nobody answers at either."""
    for mode, address in (("IPv4", "http://169.254.169.254:"), ("IPv6", "http://[fd00:ec2::254]:")):
        env = {**mount(start=False, env=NO_KEYS).env, "AWS_EC2_METADATA_DISABLED": "false",
               "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": mode}
        done = util.run(["unshare", "--net", DAEMON], 30, check=False, env=util.clean_env(**env_of(env)))
        assert done.code == EX_S3 and address in done.out + done.err, done


def test_the_environment_says_when_it_expires(mount, proxy):
    end = iso(time.time() + 3)
    m = mount(via=proxy, env={"AWS_SESSION_TOKEN": "mine", "AWS_CREDENTIAL_EXPIRATION": end})
    assert news(m)["expires"] == end
    works(m)
    util.wait_until(lambda: "cannot be renewed" in m.log(), 20, "the warning")
    assert f"the credentials of the environment expire at {end}" in m.log()
    refused(mount(start=False, env={"AWS_CREDENTIAL_EXPIRATION": iso(time.time() - 60)}), EX_CONFIG,
            "have expired")
    refused(mount(start=False, env={"AWS_CREDENTIAL_EXPIRATION": "tomorrow"}), EX_CONFIG, "no time")
    works(m)                # S3 decides


# -- what is wrong at the start

def refused(m, code, *words):
    got, errors = m.start_refused(30)
    assert got == code and len(errors) == 1, m.log()
    for word in words:
        assert word in errors[0]
    assert SECRET not in m.log()


def test_refused_at_the_start(mount, source):
    web = source.web_identity()
    source.web_tokens = {"another"}
    refused(mount(start=False, env=web), EX_CONFIG, "web identity", "ExpiredTokenException", ROLE)
    refused(mount(start=False, env=source.profile("[profile y]\n")), EX_CONFIG, 'no profile "x"')
    refused(mount(start=False, env=source.profile(
        f"[profile x]\nrole_arn={ROLE}\nsource_profile=y\n[profile y]\nrole_arn={ROLE}\n"
        "source_profile=x\n")), EX_CONFIG, "circle")
    refused(mount(start=False, env=NO_KEYS), EX_CONFIG, "no credentials", "AWS_ACCESS_KEY_ID")
    refused(mount(start=False, env=source.static("wrong-secret")), EX_CONFIG, "secret key")
    pod = source.pod_identity()
    source.stop()
    refused(mount(start=False, env=pod), EX_S3, "container", "no answer")


def test_nothing_falls_through(mount, source):
    """A broken web identity is not replaced by the instance's role, which may do more."""
    env = {**source.instance(), "AWS_ROLE_ARN": ROLE,
           "AWS_WEB_IDENTITY_TOKEN_FILE": "/nonexistent/token"}
    refused(mount(start=False, env=env), EX_CONFIG, "/nonexistent/token")
    assert source.requests == []


# -- refreshing

class Load:
    """Writes and reads files until it is told to stop; what fails is kept."""

    def __init__(self, m):
        self.m, self.ended, self.errors, self.done = m, threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(3)]
        for t in self.threads:
            t.start()

    def run(self, i):
        n = 0
        while not self.ended.is_set():
            n += 1
            try:
                works(self.m, f"load-{i}-{n % 7}.txt", f"{i} {n}".encode() * 50)
                self.done += 1
            except Exception as e:      # pylint: disable=broad-except
                self.errors.append(repr(e))

    def stop(self):
        util.wait_until(lambda: self.done > 10 or self.errors, 30, "some work")
        self.ended.set()
        for t in self.threads:
            t.join()
        assert not self.errors, self.errors[:5]


@pytest.mark.limit(120)
@pytest.mark.parametrize("variant", [LWW, CAS])
def test_rotated_under_load(mount, source, proxy, variant):
    """Lives of four seconds; the token file changes each time. The source takes no token but the last two (the keeper
    may have read the file just before), nor does S3."""
    source.life = 4
    m = mount(via=proxy, env=source.web_identity("web-0"), variant=variant, workers=3)
    load = Load(m)
    for n in range(1, 5):
        source.web_tokens = {f"web-{n - 1}", f"web-{n}"}
        source.file("web-token", f"web-{n}")
        issued = source.n
        util.wait_until(lambda: source.n > issued, 20, "a refresh")     # noqa: B023
        for old in range(1, source.n - 1):
            refuse(proxy, f"token-{old}")
    load.stop()
    assert news(m)["failures"] == 0
    assert len(tokens(proxy)) >= 4
    assert not m.errors() and "credentials cannot be refreshed" not in m.log()


@pytest.mark.parametrize("variant", [LWW, CAS])
@pytest.mark.parametrize("code, status", [("ExpiredToken", 400), ("InvalidToken", 400),
                                          ("InvalidAccessKeyId", 403)])
def test_expired_in_the_middle_of_an_upload(mount, source, proxy, bucket, variant, code, status):
    """The bytes are on their way when S3 says that the token has expired: close succeeds with another."""
    m = mount(via=proxy, env=source.pod_identity(), variant=variant)
    data = os.urandom(3 << 20)
    refuse(proxy, "token-1", code, status, op="PutObject")
    (m.path / "big.bin").write_bytes(data)
    assert bucket.get("p/big.bin") == data
    puts = [x.headers["x-amz-security-token"] for x in proxy.log("PutObject", "p/big.bin")]
    assert puts == ["token-1", "token-2"]
    refuse(proxy, "token-2", code, status, op=["GetObject", "HeadObject", "ListObjectsV2"])
    assert (m.path / "big.bin").read_bytes() == data
    assert os.listdir(m.path) == ["big.bin"]
    assert tokens(proxy)[-1] == "token-3"
    assert news(m)["refreshes"] == 3
    assert not m.errors()


def test_many_are_refused_at_once(mount, source, proxy):
    """One refresh is enough for all of them."""
    m = mount(via=proxy, env=source.pod_identity(), workers=4)
    refuse(proxy, "token-1")
    results = []

    def one(i):
        works(m, f"f{i}.txt")
        results.append(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 20
    assert source.n == 2


def test_a_rotated_key_in_a_file(mount, source, proxy, bucket):
    """No expiry says when: S3 does, and the file is read again."""
    m = mount(via=proxy, env=source.static())
    works(m)
    rule = proxy.add_rule("answer", status=403, code="InvalidAccessKeyId",
                          having={"x-amz-security-token": None})
    source.file("credentials", f"[x]\naws_access_key_id = {ACCESS}\naws_session_token = new\n"
                               f"aws_secret_access_key = {SECRET}\n")
    works(m, "g.txt")
    assert tokens(proxy)[-1] == "new"
    proxy.remove_rule(rule)


def test_no_others_come(mount, source, proxy):
    """The source says no as well: EACCES, told once; and all is well when it is."""
    m = mount(via=proxy, env=source.web_identity())
    works(m)
    source.web_tokens = set()
    rule = refuse(proxy, "token-1")
    with pytest.raises(PermissionError):
        os.listdir(m.path)
    with pytest.raises(PermissionError):
        (m.path / "g.txt").read_bytes()
    n = news(m)
    assert n["failures"] >= 1 and "ExpiredTokenException" in n["error"]
    assert "last refresh failed" in m.ctl("status").out
    assert m.log().count("warn keeper") == 1 and "ExpiredTokenException" in m.log()
    source.web_tokens = {"web-1"}
    util.wait_until(lambda: news(m)["error"] == "", 30, "a refresh")
    works(m, "g.txt")
    assert "credentials are refreshed again" in m.log()
    proxy.remove_rule(rule)


@pytest.mark.limit(90)
def test_the_source_is_away(mount, source, proxy):
    """While the old ones live nobody notices, but the log; when it is back, new ones come."""
    source.life = 12
    m = mount(via=proxy, env=source.instance())
    load = Load(m)
    source.stop()
    util.wait_until(lambda: news(m)["failures"] >= 2, 30, "failed refreshes")
    works(m)
    assert news(m)["provider"] == "instance metadata"
    source.start()
    util.wait_until(lambda: news(m)["refreshes"] >= 2, 30, "a refresh")
    load.stop()
    assert m.log().count("credentials cannot be refreshed") in (1, 2)       # warn, and err near the end
    assert tokens(proxy)[-1] == "token-2"


def test_old_ones_are_used_after_their_expiry(mount, source, proxy):
    """S3 decides, not our clock."""
    source.life = 2
    m = mount(via=proxy, env=source.pod_identity())
    source.stop()
    util.wait_until(lambda: "err keeper" in m.log(), 30, "the log")
    time.sleep(2)
    works(m)
    assert tokens(proxy) == ["token-1"]


# -- the keeper dies

@pytest.mark.limit(90)
def test_the_keeper_is_killed(mount, source, proxy):
    """Again and again, under load: nobody notices, nor does the source."""
    m = mount(via=proxy, env=source.pod_identity())
    load = Load(m)
    seen = set()
    for _ in range(15):
        pid = util.wait_until(lambda: keeper(m) or None, 20, "a keeper")
        seen.add(pid)
        util.kill(pid, signal.SIGKILL)
        util.wait_until(lambda: keeper(m) not in (pid, 0), 20, "another keeper")    # noqa: B023
    load.stop()
    assert len(seen) == 15 and source.n == 1
    refuse(proxy, "token-1")
    works(m)                            # and it does what it is there for
    assert source.n == 2


def test_the_keeper_is_killed_as_it_fetches(mount, source, proxy):
    """The request waits for its successor."""
    m = mount(via=proxy, env=source.pod_identity())
    stuck = threading.Event()
    go_on = threading.Event()
    real = source.issue_fn

    def hold(kind):
        stuck.set()
        go_on.wait(20)
        return real(kind)

    source.issue_fn = hold
    refuse(proxy, "token-1")
    written = threading.Thread(target=works, args=(m,))
    written.start()
    assert stuck.wait(20)
    source.issue_fn = real
    util.kill(keeper(m), signal.SIGKILL)
    written.join(30)
    go_on.set()
    assert not written.is_alive()
    assert (m.path / "f.txt").read_bytes() == b"data"


def test_sigterm_to_all_of_them(mount, source, proxy):
    """As a service manager does it: the keeper serves until the uploads are through."""
    m = mount(via=proxy, env=source.pod_identity())
    f = open(m.path / "f.txt", "wb")
    f.write(b"late")
    pid = keeper(m)
    refuse(proxy, "token-1")
    os.kill(pid, signal.SIGTERM)
    m.proc.send_signal(signal.SIGTERM)
    util.wait_until(lambda: "draining" in m.log(), 20, "the drain")
    f.close()
    assert m.wait_exit() == 0
    m.stopped = True
    assert source.n == 2


# -- the secret

def has_secret(pid, secret=SECRET):
    return [line for line, data in memory_of(pid) if secret.encode() in data]


@pytest.mark.parametrize("kind", ["environment", "web_identity", "static", "program", "instance"])
@pytest.mark.repeats
def test_the_secret_is_nowhere(mount, source, proxy, scratch, kind):
    """Not in a worker's memory (the segment is in it), not in any /proc, not in the log, status or metrics."""
    if kind == "environment" and "ASAN_OPTIONS" in os.environ:
        pytest.skip("getenv, as the sanitizer has it, copies the environment to memory of its own that nobody wipes")
    env = {} if kind == "environment" else getattr(source, kind)()
    at = scratch / "metrics.sock"
    m = mount(via=proxy, env={"STATEPROXY_LOG_LEVEL": "debug", "STATEPROXY_METRICS_LISTEN": at, **env})
    works(m)
    status = m.status()
    for pid in [m.proc.pid, *util.children(m.proc.pid)]:
        for what in ("environ", "cmdline"):
            with open(f"/proc/{pid}/{what}", "rb") as f:
                assert SECRET.encode() not in f.read(), (pid, what)
    for pid in m.worker_pids():
        assert has_secret(pid) == []
        assert has_secret(pid, ACCESS)          # (what is looked for is found)
    assert has_secret(status["notifiers"][0]["pid"]) == []
    if kind != "environment":
        assert has_secret(m.proc.pid) == []
        keeper_pid = status["keepers"][0]["pid"]        # (it has the secret while it fetches)
        util.wait_until(lambda: has_secret(keeper_pid) == [], 20, "the keeper to wipe the secret")
    page = metrics.fetch(at, "/metrics")
    assert "stateproxy_" in str(page)
    assert SECRET not in m.log() + m.ctl("status").out + m.ctl("status", "--json").out + str(page)
    if kind == "environment":
        assert ACCESS not in m.ctl("status", "--json").out


def cores_in(directory):
    return list(directory.glob("core*"))


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_the_core_of_a_worker(mount, sandbox):
    """There is none, also if the daemon's limit permits it, and anybody may write where it stands. Without the sandbox
    there is one, and the secret is not in it."""
    if "ASAN_OPTIONS" in os.environ:
        pytest.skip("a sanitizer allows no cores by itself")
    with open("/proc/sys/kernel/core_pattern") as f:
        pattern = f.read().strip()
    if pattern[:1] in ("|", "/", "@", ""):
        pytest.skip(f"cores of this machine go to {pattern}")
    before, endless = resource.getrlimit(resource.RLIMIT_CORE), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, endless)
    except ValueError:
        pytest.skip("the limit of cores cannot be lifted")
    try:
        m = mount(noise=None, env={"STATEPROXY_SANDBOX": sandbox})
        os.chmod(m.dir, 0o777)
        other = subprocess.Popen(["sh", "-c", f"kill -{int(util.CRASH_SIGNAL)} $$"], cwd=m.dir).pid
        status = os.waitpid(other, 0)[1]
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    if not os.WCOREDUMP(status):
        pytest.skip("nobody leaves a core here")
    assert cores_in(m.dir)              # (what is looked for is found)
    for core in cores_in(m.dir):
        core.unlink()
    assert resource.prlimit(m.proc.pid, resource.RLIMIT_CORE) == endless
    for pid in m.worker_pids():
        assert os.readlink(f"/proc/{pid}/cwd") == str(m.dir)
        os.kill(pid, util.CRASH_SIGNAL)
        util.wait_until(lambda: pid not in m.worker_pids(), 20, "the replacement")      # noqa: B023
        assert bool(cores_in(m.dir)) == (sandbox == "off")
        for core in cores_in(m.dir):
            data = core.read_bytes()
            assert b"stateproxy" in data and SECRET.encode() not in data
            core.unlink()
    works(m)


def test_nobody_looks_into_the_keeper(mount):
    m = mount()
    pid = keeper(m)
    with open(f"/proc/{pid}/limits") as f:
        assert re.search(r"Max core file size +0 +0 ", f.read())
    fds = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
    assert "/dev/fuse" not in fds
    assert CTL
