"""HTTPS against real TLS servers: what is trusted and what is not, and why; client certificates;
resumed sessions; connections that end without a word; random numbers of workers."""

import concurrent.futures
import errno
import http.client
import os
import ssl

import pytest

from harness import util
from harness.pattern import pattern
from harness.server import S3Server
from harness.tls import DAY, Authority, Cut, TlsFront

CONFIG_ERROR = 78
BIG = 3 << 20
INSECURE = "s3.tls_insecure is set"


@pytest.fixture
def authority(scratch):
    return Authority(scratch)


@pytest.fixture
def front(s3server):
    """front(cert, key, ...) -> a TlsFront before the S3 server."""
    made = []

    def make(cert, key, port=None, **kwargs):
        made.append(TlsFront(port or s3server.port, cert, key, **kwargs))
        return made[-1]
    yield make
    for f in made:
        f.close()


def trusting(authority, **env):
    return {"AWS_CA_BUNDLE": authority.path, "STATEPROXY_S3_DEADLINE": "10s", **env}


def refused(mount, endpoint, env):
    """The one error line of a start that has to fail."""
    m = mount(via=endpoint, start=False, env=env)
    code, lines = m.start_refused(30)
    assert code == CONFIG_ERROR and len(lines) == 1, (code, m.log())
    return lines[0]


# -- what is trusted


class TlsS3Server(S3Server):
    """versitygw as it speaks TLS itself."""

    def __init__(self, binary, guard, cert, key):
        super().__init__(binary, guard, ["--cert", cert, "--key", key])

    def _wait_answer(self):
        def answers():
            if not self.running():
                return True
            try:
                conn = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5,
                                                   context=ssl._create_unverified_context())
                conn.request("GET", "/")
                conn.getresponse().read()
                conn.close()
                return True
            except OSError:
                return False
        util.wait_until(answers, self.start_seconds, "the answer of the server")
        return self.running()


def test_a_server_of_its_own_with_its_address_in_the_certificate(mount, guard, s3server, scratch,
                                                                  authority):
    """By its address, which is an IP SAN; reads and writes of all sizes, byte for byte."""
    server = TlsS3Server(s3server.binary, guard, *authority.issue("127.0.0.1")).start()
    try:
        (server.root / "bkt-tls" / "p").mkdir(parents=True)
        m = mount(via=f"https://127.0.0.1:{server.port}", env=trusting(
            authority, STATE_BUCKET="bkt-tls"), noise=None)
        for size in (0, 1, 16384, 16385, BIG):
            (m.path / f"{size}.bin").write_bytes(pattern(size))
            assert (server.root / "bkt-tls" / "p" / f"{size}.bin").read_bytes() == pattern(size)
            os.rename(m.path / f"{size}.bin", m.path / "moved.bin")
            assert (m.path / "moved.bin").read_bytes() == pattern(size)
        m.clean_up(False)
    finally:
        server.remove()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_both_versions_by_name(mount, front, bucket, authority, version):
    """A large PUT too: in TLS 1.3 session tickets arrive in its midst, which stopped curl 8.22."""
    f = front(*authority.issue("localhost"), versions=[version])
    m = mount(via=f.endpoint("localhost"), env=trusting(authority))
    (m.path / "f.bin").write_bytes(pattern(BIG))
    assert bucket.get("p/f.bin") == pattern(BIG)
    assert m.status()["counters"].get("s3_retries", 0) == 0
    assert {h.version for h in f.handshakes} == {version.replace("_", ".")}
    assert all("GCM" in h.cipher for h in f.handshakes), "AES is in the CPU, but not preferred"


REFUSAL = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n" \
          b"Content-Length: %d\r\n\r\n%s" % (len(REFUSAL), REFUSAL)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_refusal_before_the_body_is_heard(mount, front, bucket, authority, version):
    """The server answers and resets while the body is being sent, a buffer at a time: the program gets the reason,
    not ECONNRESET."""
    bucket.put("p/f.bin", b"old")
    f = front(*authority.issue("localhost"), versions=[version])
    m = mount(via=f.endpoint("localhost"), env=trusting(authority, STATEPROXY_S3_DEADLINE="20s"))
    f.refusal = REFUSAL
    with pytest.raises(PermissionError):
        (m.path / "f.bin").write_bytes(pattern(4 * BIG))
    f.refusal = None
    assert bucket.get("p/f.bin") == b"old"


def test_http_2_offered(mount, front, bucket, authority):
    f = front(*authority.issue("localhost"), alpn=["h2", "http/1.1"])
    m = mount(via=f.endpoint("localhost"), env=trusting(authority))
    (m.path / "f.txt").write_bytes(b"1")
    assert bucket.get("p/f.txt") == b"1"
    assert {h.alpn for h in f.handshakes} <= {None, "http/1.1"}


BAD = {
    "expired": (lambda ca, other: ca.issue("localhost", since=-9 * DAY, until=-DAY),
                "has expired (CN", "renew the server's certificate"),
    "of tomorrow": (lambda ca, other: ca.issue("localhost", since=DAY), "is not valid yet (CN",
                    "set the clock"),
    "other name": (lambda ca, other: ca.issue("other.example"), "is for another name (CN",
                   "in s3.endpoint"),
    "self-signed": (lambda ca, other: other.own(), "is self-signed", "into s3.ca_bundle"),
    "unknown CA": (lambda ca, other: other.issue("localhost"), "from a CA that is not in the CA "
                   "bundle (CN", "certificate of its CA into s3.ca_bundle"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_certificates(mount, front, scratch, authority, case):
    """The error names the reason and what to do."""
    make, reason, advice = BAD[case]
    other = Authority(scratch, "localhost" if case == "self-signed" else "Other CA")
    f = front(*make(authority, other))
    line = refused(mount, f.endpoint("localhost"), trusting(authority))
    assert reason in line and advice in line and "no trusted TLS connection" in line, line


def test_an_address_that_is_not_in_the_certificate(mount, front, authority):
    f = front(*authority.issue("localhost"))
    assert "is for another name" in refused(mount, f.endpoint(), trusting(authority))


def test_the_system_s_bundle_does_not_know_our_ca(mount, front, authority):
    f = front(*authority.issue("localhost"))
    line = refused(mount, f.endpoint("localhost"), {})
    assert "from a CA that is not in the CA bundle" in line, line


def test_old_versions_only(mount, front, authority):
    f = front(*authority.issue("localhost"), versions=["TLSv1", "TLSv1_1"])
    line = refused(mount, f.endpoint("localhost"), trusting(authority))
    assert "no trusted TLS connection" in line and "only TLS older than 1.2" in line, line


def test_no_tls_at_all(mount, s3server, authority):
    line = refused(mount, f"https://localhost:{s3server.port}", trusting(authority))
    assert "speaks https" in line, line


def test_insecure_is_said_at_each_start(mount, front, scratch, bucket, authority):
    """A certificate that is wrong in every way."""
    f = front(*Authority(scratch, "x").issue("x.example", since=-9 * DAY, until=-DAY))
    m = mount(via=f.endpoint("localhost"), start=False,
              env={"STATEPROXY_S3_TLS_INSECURE": "true"})
    for start in (1, 2):
        m.log_path.write_text("")
        m.start()
        (m.path / "f.txt").write_bytes(b"%d" % start)
        assert bucket.get("p/f.txt") == b"%d" % start
        assert m.log().count(INSECURE) == 1 and f": {INSECURE}" in m.log()
        m.stop()


def test_a_certificate_that_goes_bad_while_mounted(mount, front, scratch, authority):
    """Programs get EPROTO, the log says why, and the mount goes on when it is good again."""
    good, bad = authority.issue("localhost"), Authority(scratch, "x").issue("localhost")
    f = front(*good)
    m = mount(via=f.endpoint("localhost"), env=trusting(authority), noise=None)
    (m.path / "f.txt").write_bytes(b"1")
    restart(f, bad)
    with pytest.raises(OSError) as e:
        (m.path / "g.txt").write_bytes(b"1")
    assert e.value.errno == errno.EPROTO, e.value
    assert "from a CA that is not in the CA bundle" in m.log()
    restart(f, good)
    (m.path / "g.txt").write_bytes(b"2")
    assert (m.path / "g.txt").read_bytes() == b"2"


def restart(f, files):
    """As a server that was started again with another certificate: no session of before counts."""
    f.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    f.context.load_cert_chain(*files)
    f.drop_connections()


# -- client certificates


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("one_file", [False, True])
def test_client_certificate(mount, front, scratch, bucket, authority, version, one_file):
    cert, key = authority.issue("client.example")
    env = {"STATEPROXY_S3_CLIENT_CERT": cert, "STATEPROXY_S3_CLIENT_KEY": key}
    if one_file:
        both = scratch / "both.pem"
        both.write_bytes(key.read_bytes() + cert.read_bytes())
        env = {"STATEPROXY_S3_CLIENT_CERT": both}
    f = front(*authority.issue("localhost"), versions=[version], client_ca=authority.path)
    m = mount(via=f.endpoint("localhost"), env=trusting(authority, **env))
    (m.path / "f.txt").write_bytes(b"1")
    assert bucket.get("p/f.txt") == b"1"
    assert {h.subject for h in f.handshakes if not h.resumed} == \
        {((("commonName", "client.example"),),)}


def test_client_certificate_missing(mount, front, authority):
    f = front(*authority.issue("localhost"), versions=["TLSv1_2"], client_ca=authority.path)
    line = refused(mount, f.endpoint("localhost"), trusting(authority))
    assert "s3.client_cert" in line, line


def test_client_certificate_of_somebody_else(mount, front, scratch, authority):
    cert, key = Authority(scratch, "Other CA").issue("client.example")
    f = front(*authority.issue("localhost"), versions=["TLSv1_2"], client_ca=authority.path)
    line = refused(mount, f.endpoint("localhost"), trusting(
        authority, STATEPROXY_S3_CLIENT_CERT=cert, STATEPROXY_S3_CLIENT_KEY=key))
    assert "s3.client_cert" in line, line


@pytest.mark.parametrize("key, said", [
    (b"nothing\n", "no PEM private key in it"),
    (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "without a passphrase"), (None, "No such file")])
def test_client_keys_that_cannot_be_used(mount, front, scratch, authority, key, said):
    cert, _ = authority.issue("client.example")
    path = scratch / "key.pem"
    if key is not None:
        path.write_bytes(key)
    f = front(*authority.issue("localhost"))
    line = refused(mount, f.endpoint("localhost"), trusting(
        authority, STATEPROXY_S3_CLIENT_CERT=cert, STATEPROXY_S3_CLIENT_KEY=path))
    assert f"s3.client_key {path}" in line and said in line, line


# -- sessions, random numbers


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_sessions_are_resumed(mount, front, bucket, authority, version):
    """A worker's later connections cost no full handshake."""
    f = front(*authority.issue("localhost"), versions=[version])
    m = mount(via=f.endpoint("localhost"), workers=1, env=trusting(authority), noise=None)
    bucket.put("p/f.txt", b"1")
    assert (m.path / "f.txt").read_bytes() == b"1"
    before, total = len(f.full_handshakes()), len(f.handshakes)
    for i in range(5):
        f.drop_connections()
        (m.path / f"f{i}.txt").write_bytes(b"x")
    assert len(f.handshakes) >= total + 5
    assert len(f.full_handshakes()) == before, [vars(h) for h in f.handshakes]


def test_workers_have_random_numbers_of_their_own(mount, front, authority):
    """A generator that was seeded before the fork would give all of them the same ones
    (CVE-2026-25835 of mbedTLS): the nonces of ClientHellos show it."""
    f = front(*authority.issue("localhost"))
    m = mount(via=f.endpoint("localhost"), workers=4, env=trusting(authority), noise=None)

    def write_at_once():
        """Sessions are a worker's own: so many full handshakes are of so many workers."""
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda i: (m.path / f"{i}.txt").write_bytes(b"x"), range(64)))
        return len(f.full_handshakes()) >= before + 3
    for _ in range(3):
        before = len(f.full_handshakes())
        util.wait_until(write_at_once, 20, "requests by three workers")
        m.wait_workers(4, without=m.kill_workers())
    randoms = [h.random for h in f.handshakes]
    assert len(set(randoms)) == len(randoms) >= 9
    # the tail too: the first bytes of some nonces are a clock
    assert len({r[-16:] for r in randoms}) == len(randoms)


# -- connections that end without close_notify


CUTS = {
    "length, midway": {"after": 50_000},
    "no length, midway": {"after": 50_000, "no_length": True},
    "no length, before the body": {"after": 0, "no_length": True},
    "no length, at the end": {"no_length": True},
    "length, at the end": {},
}


@pytest.mark.parametrize("how", CUTS)
def test_ends_without_close_notify_heal(mount, front, bucket, authority, how):
    data = pattern(BIG)
    bucket.put("p/f.bin", data)
    f = front(*authority.issue("localhost"))
    m = mount(via=f.endpoint("localhost"), env=trusting(authority), noise=None)
    f.cut = Cut("/p/f.bin", times=2, **CUTS[how])
    assert (m.path / "f.bin").read_bytes() == data
    assert f.cut.met > 0


@pytest.mark.parametrize("how", ["length, midway", "no length, midway"])
@pytest.mark.parametrize("notify", [False, True])
def test_what_is_cut_each_time_is_never_a_short_file(mount, front, bucket, authority, how, notify):
    """With close_notify and without a length, only Content-Range tells that something is missing."""
    bucket.put("p/f.bin", pattern(BIG))
    f = front(*authority.issue("localhost"))
    m = mount(via=f.endpoint("localhost"), noise=None, env=trusting(
        authority, STATEPROXY_S3_DEADLINE="2s", STATEPROXY_S3_CONNECT_TIMEOUT="2s",
        STATEPROXY_S3_ATTEMPT_TIMEOUT="2s"))
    f.cut = Cut("/p/f.bin", times=100_000, notify=notify, **dict(CUTS[how], after=0))
    with pytest.raises(OSError):
        (m.path / "f.bin").read_bytes()
    f.cut = None
    assert (m.path / "f.bin").read_bytes() == pattern(BIG)
