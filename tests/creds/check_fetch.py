"""Every provider of credentials against servers that check what they are asked (tests/tools/credserver.py). Run by
tools/check-creds with the path of creds_tool; needs no network and no root."""

import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))

from credserver import ACCOUNT, CredServer, iso     # noqa: E402

TOOL = sys.argv.pop(1) if len(sys.argv) > 1 else "tests/creds/creds_tool"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
OTHER = f"arn:aws:iam::{ACCOUNT}:role/other"


class Case(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self.tmp.name)
        self.n = 0
        self.server = CredServer(self.issue).start()
        self.server.roles = {ROLE: None, OTHER: "ext"}

    def tearDown(self):
        self.server.stop()
        self.tmp.cleanup()

    def issue(self, kind):
        self.n += 1
        access, secret, token = f"ASIA{kind[:4].upper()}{self.n}", f"secret/{self.n}+=", f"token{self.n}=="
        self.server.keys[access] = (secret, token)
        return access, secret, token, 3600

    def run_tool(self, *args, **conf):
        conf.setdefault("metadata_disabled", "1")
        conf.setdefault("sts_endpoint", self.server.url)
        conf.setdefault("sso_endpoint", self.server.url)
        text = "".join(f"{n}={v}\n" for n, v in conf.items() if v is not None)
        env = {"PATH": os.environ["PATH"], "HOME": str(self.dir),
               "http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.1"}
        for name, value in os.environ.items():
            if name.endswith("SAN_OPTIONS"):
                env[name] = value
        done = subprocess.run([TOOL, *args], input=text, capture_output=True, text=True, env=env,
                              timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    def good(self, provider, **conf):
        """Also creds_look names it, and asks nobody."""
        asked = len(self.server.requests)
        looked = self.run_tool("look", **conf)
        self.assertEqual(looked.get("provider"), provider, looked)
        self.assertEqual(len(self.server.requests), asked)
        got = self.run_tool(**conf)
        self.assertNotIn("error", got, got)
        self.assertEqual(got["provider"], provider)
        return got

    def issued(self, got, account=ACCOUNT):
        kind, access, secret, token, _ = self.server.issued[-1]
        self.assertEqual((got["access_key"], got["secret"], got["session_token"]),
                         (access, secret, token), kind)
        self.assertEqual(got["account"], account)
        self.assertLess(abs(int(got["expires"]) - time.time() - 3600), 10)

    def bad(self, error, *words, **conf):
        got = self.run_tool(**conf)
        self.assertEqual(got.get("error"), error, got)
        for word in words:
            self.assertIn(word, got["text"])
        self.assertNotIn("access_key", got)
        for _, _, secret, token, _ in self.server.issued:
            self.assertNotIn(secret, got["text"])
        return got["text"]

    def file(self, name, text, mode=0o600):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def aws(self, config="", credentials=""):
        """The shared files at their usual place."""
        self.file(".aws/config", config)
        self.file(".aws/credentials", credentials)
        return {"home": self.dir}

    # -- environment, and the order

    def test_environment(self):
        got = self.good("environment", access_key="AKIA", secret="s/+=")
        self.assertEqual((got["secret"], got["session_token"], got["expires"]), ("s/+=", "", "0"))
        got = self.good("environment", access_key="AKIA", secret="s", session_token="t",
                        web_identity_token_file="/nonexistent", role_arn=ROLE)
        self.assertEqual(got["session_token"], "t")
        self.bad("EINVAL", "AWS_SECRET_ACCESS_KEY", access_key="AKIA")

    def test_order(self):
        self.server.instance_role = "r"
        self.server.container_paths = {"/c": None}
        self.server.web_tokens = {"web"}
        everything = dict(metadata_disabled="0", metadata_endpoint=self.server.url,
                          container_full_uri=self.server.url + "/c", role_arn=ROLE,
                          web_identity_token_file=self.file("t", "web"),
                          access_key="A", secret="s",
                          **self.aws("", "[default]\naws_access_key_id=P\naws_secret_access_key=q\n"))
        self.good("environment", **everything)
        del everything["access_key"], everything["secret"]
        self.good("web identity", **everything)
        del everything["web_identity_token_file"]
        self.good('profile "default": keys', **everything)
        self.aws("[default]\nregion = x\n")
        self.good("container", **everything)
        del everything["container_full_uri"]
        self.good("instance metadata", **everything)
        everything["metadata_disabled"] = "1"
        self.bad("ENOKEY", "no credentials", "AWS_ACCESS_KEY_ID", **everything)

    def test_nothing_falls_through(self):
        """What is configured and fails is the end of it, whatever comes behind."""
        behind = dict(metadata_disabled="0", metadata_endpoint=self.server.url)
        self.server.instance_role = "r"
        self.bad("EINVAL", "/nonexistent", web_identity_token_file="/nonexistent", role_arn=ROLE,
                 **behind)
        self.bad("EINVAL", "AWS_ROLE_ARN", web_identity_token_file="/nonexistent", **behind)
        self.bad("EINVAL", "no profile \"x\"", profile="x", **behind, **self.aws())
        self.bad("EINVAL", "profile \"x\"", "does not say", profile="x", **behind,
                 **self.aws("[profile x]\nregion=y\n"))
        self.server.container_paths = {"/c": {"right"}}
        self.bad("EACCES", "401", container_full_uri=self.server.url + "/c", **behind)
        self.bad("EINVAL", "/nonexistent", config_file="/nonexistent", **behind)
        self.assertEqual(self.server.issued, [])

    # -- web identity

    def test_web_identity(self):
        token = self.file("token", "web1\n")
        conf = dict(role_arn=ROLE, web_identity_token_file=token, role_session_name="me@x")
        self.server.web_tokens = {"web1"}
        self.issued(self.good("web identity", **conf))
        form = self.server.requests[-1][3]
        self.assertIn("RoleSessionName=me%40x", form)
        token.write_text("web2")                # read each time
        text = self.bad("EACCES", "ExpiredTokenException", ROLE, "renewed", **conf)
        self.assertNotIn("web2", text)
        self.server.web_tokens = {"web2"}
        self.issued(self.good("web identity", **conf))

    def test_web_identity_refused(self):
        self.server.web_tokens = {"w"}
        token = self.file("token", "w")
        wrong = f"arn:aws:iam::{ACCOUNT}:role/wrong"
        self.bad("EACCES", "AccessDenied", wrong, "trust policy", role_arn=wrong,
                 web_identity_token_file=token)
        self.bad("EINVAL", "ARN", role_arn="reader", web_identity_token_file=token)
        self.bad("EINVAL", "empty", role_arn=ROLE, web_identity_token_file=self.file("e", "\n"))
        self.bad("EINVAL", "one line", role_arn=ROLE,
                 web_identity_token_file=self.file("e", "a\r\nX: b"))
        self.bad("EINVAL", "not a regular", role_arn=ROLE, web_identity_token_file=self.dir)
        self.bad("EINVAL", "2 to 64", role_arn=ROLE, web_identity_token_file=token,
                 role_session_name="x" * 65)

    def test_sts_in_trouble(self):
        """What passes is tried again; what does not, and what is no answer of STS, is told."""
        self.server.web_tokens = {"w"}
        conf = dict(role_arn=ROLE, web_identity_token_file=self.file("token", "w"))
        idp = ("<ErrorResponse><Error><Code>IDPCommunicationError</Code><Message>x</Message>"
               "</Error></ErrorResponse>")
        self.server.canned = [(500, "oops"), (503, "slow"), (400, idp)]
        self.issued(self.good("web identity", **conf))
        for answer in ((200, "<html>login</html>"), (200, "{}"), (200, "x" * 70000),
                       (200, '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')):
            self.server.always = answer
            self.assertIn("STS at " + self.server.url, self.run_tool(**conf)["text"])
        self.server.always = (302, "", "text/plain", [("Location", "http://127.0.0.1:1/")])
        self.bad("EACCES", "302", **conf)
        self.server.always = (500, "broken\r\nhere")
        self.assertNotIn("\n", self.bad("EHOSTUNREACH", "500 broken", **conf))
        self.server.stop()
        self.bad("EHOSTUNREACH", "STS at", **conf)
        self.server.port = 0

    # -- profiles

    def test_static_profile(self):
        files = self.aws(
            "\ufeff# comment\n[default]\nregion = r\n[profile \"my one\"]\naws_access_key_id = CFG\n"
            "aws_secret_access_key = cfg  ; comment\ns3 =\n  addressing_style = path\n"
            "[my one]\naws_access_key_id = WRONG\n",
            "[default]\nAWS_ACCESS_KEY_ID=D\naws_secret_access_key = d#d\naws_session_token = t\n")
        got = self.good('profile "default": keys', **files)
        self.assertEqual((got["access_key"], got["secret"], got["session_token"]), ("D", "d#d", "t"))
        got = self.good('profile "my one": keys', profile="my one", **files)
        self.assertEqual((got["access_key"], got["secret"]), ("CFG", "cfg"))
        self.bad("EINVAL", "aws_secret_access_key",
                 **self.aws("[default]\naws_secret_access_key=x\n", "[default]\naws_access_key_id=A\n"))
        self.bad("EINVAL", "line 2", **self.aws("[default]\nthis is secret\n"))

    def test_assume_role(self):
        self.server.keys = {"BASE": ("base+/", "")}
        files = self.aws(
            f"[profile a]\nrole_arn = {ROLE}\nsource_profile = base\nduration_seconds = 900\n"
            f"[profile b]\nrole_arn = {OTHER}\nsource_profile = a\nexternal_id = ext\n"
            f"[profile self]\nrole_arn = {ROLE}\nsource_profile = self\naws_access_key_id = BASE\n"
            f"aws_secret_access_key = base+/\n"
            f"[profile env]\nrole_arn = {ROLE}\ncredential_source = environment\n",
            "[base]\naws_access_key_id = BASE\naws_secret_access_key = base+/\n")
        self.issued(self.good(f'profile "a": role {ROLE}', profile="a", **files))
        self.assertIn("DurationSeconds=900", self.server.requests[-1][3])
        n = len(self.server.requests)
        self.issued(self.good(f'profile "b": role {OTHER}', profile="b", **files))
        self.assertEqual(len(self.server.requests), n + 2)      # one role leads to the other
        self.issued(self.good(f'profile "self": role {ROLE}', profile="self", **files))
        self.server.keys["BASE"] = ("another", "")
        self.bad("EACCES", "SignatureDoesNotMatch", profile="a", **files)

    def test_credential_sources(self):
        self.server.container_paths = {"/c": None}
        self.server.instance_role = "r"
        files = self.aws(
            f"[profile ecs]\nrole_arn = {ROLE}\ncredential_source = EcsContainer\n"
            f"[profile ec2]\nrole_arn = {ROLE}\ncredential_source = Ec2InstanceMetadata\n"
            f"[profile bad]\nrole_arn = {ROLE}\ncredential_source = Moon\n")
        self.issued(self.good(f'profile "ecs": role {ROLE}', profile="ecs",
                              container_full_uri=self.server.url + "/c", **files))
        self.bad("EINVAL", "EcsContainer", "not set", profile="ecs", **files)
        self.issued(self.good(f'profile "ec2": role {ROLE}', profile="ec2", metadata_disabled="0",
                              metadata_endpoint=self.server.url, **files))
        self.bad("EINVAL", "AWS_EC2_METADATA_DISABLED", profile="ec2", **files)
        self.bad("EINVAL", "Moon", profile="bad", **files)

    def test_bad_roles(self):
        long = "".join(f"[profile l{i}]\nrole_arn = {ROLE}\nsource_profile = l{i + 1}\n"
                       for i in range(20))
        files = self.aws(
            f"[profile a]\nrole_arn = {ROLE}\nsource_profile = b\n"
            f"[profile b]\nrole_arn = {ROLE}\nsource_profile = a\n"
            f"[profile self]\nrole_arn = {ROLE}\nsource_profile = self\n"
            f"[profile two]\nrole_arn = {ROLE}\nsource_profile = a\ncredential_source = Environment\n"
            f"[profile none]\nrole_arn = {ROLE}\n"
            f"[profile mfa]\nrole_arn = {ROLE}\nsource_profile = a\nmfa_serial = x\n"
            f"[profile gone]\nrole_arn = {ROLE}\nsource_profile = nobody\n" + long)
        for profile, word in (("a", "circle"), ("self", "no keys"), ("two", "either"),
                              ("none", "either"), ("mfa", "mfa_serial"), ("gone", "nobody"),
                              ("l0", "more than")):
            self.bad("EINVAL", f'profile "{profile}"', word, profile=profile, **files)

    def test_web_identity_in_a_profile(self):
        self.server.web_tokens = {"w"}
        files = self.aws(f"[profile w]\nrole_arn = {ROLE}\n"
                         f"web_identity_token_file = {self.file('t', 'w')}\n")
        self.issued(self.good('profile "w": web identity', profile="w", **files))

    # -- credential_process

    def program(self, text):
        path = self.file("program", "#!/bin/sh\n" + text, 0o700)
        return self.aws(f"[profile p]\ncredential_process = {path} 'one word' \"$HOME\"\n") | \
            {"profile": "p"}

    def test_program(self):
        said = json.dumps({"Version": 1, "AccessKeyId": "PROC", "SecretAccessKey": "p/",
                           "SessionToken": "pt", "Expiration": iso(time.time() + 60),
                           "AccountId": ACCOUNT})
        got = self.good('profile "p": credential_process',
                        **self.program('[ $# = 2 ] && [ "$1" = "one word" ] && [ "$2" = \'$HOME\' ] || exit 9\n'
                                       f"echo {shlex.quote(said)}\necho noise >&2\n"))
        self.assertEqual((got["access_key"], got["secret"], got["session_token"], got["account"]),
                         ("PROC", "p/", "pt", ACCOUNT))

    @staticmethod
    def lives(pid):
        try:
            with open(f"/proc/{pid}/stat") as f:
                return f.read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def test_program_in_trouble(self):
        name = 'profile "p"'
        text = self.bad("EACCES", name, "status 3", "log in first",
                        **self.program("echo one >&2; echo log in first >&2; exit 3\n"))
        self.assertNotIn("\n", text)
        self.bad("EINVAL", "Version", **self.program('echo \'{"Version":2,"AccessKeyId":"a"}\'\n'))
        self.bad("EINVAL", "SecretAccessKey",
                 **self.program('echo \'{"Version":1,"AccessKeyId":"a"}\'\n'))
        text = self.bad("EINVAL", "JSON", **self.program("echo 'secret stuff'\n"))
        self.assertNotIn("secret stuff", text)
        self.bad("EINVAL", "more than", **self.program("head -c 100000 /dev/zero\n"))
        self.bad("EACCES", "status 1", **self.program("head -c 1000000 /dev/zero >&2; exit 1\n"))
        self.bad("EACCES", "signal 9", **self.program("kill -9 $$\n"))
        start = time.monotonic()
        mark = self.dir / "pid"
        self.bad("ETIMEDOUT", "in time", limit_ms="500",
                 **self.program(f"sleep 1000 & echo $! >{mark}; wait\n"))
        self.assertLess(time.monotonic() - start, 20)
        child = mark.read_text().strip()        # of the same group: killed, too
        deadline = time.monotonic() + 10
        while self.lives(child):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.bad("EINVAL", "quote", profile="q",
                 **self.aws("[profile q]\ncredential_process = a 'b\n"))
        self.bad("EINVAL", "No such file", profile="q",
                 **self.aws("[profile q]\ncredential_process = /nonexistent/x\n"))

    # -- SSO

    def sso(self, seconds=600, **more):
        key = hashlib.sha1(b"corp").hexdigest()
        self.file(f".aws/sso/cache/{key}.json", json.dumps(
            {"accessToken": "sso-token", "expiresAt": iso(time.time() + seconds), **more}))
        return self.aws(f"[profile s]\nsso_session = corp\nsso_account_id = {ACCOUNT}\n"
                        "sso_role_name = reader\n[sso-session corp]\nsso_region = eu-west-1\n"
                        "sso_start_url = https://x.awsapps.com/start\n") | {"profile": "s"}

    def test_sso(self):
        self.server.sso_token = "sso-token"
        files = self.sso()
        self.issued(self.good('profile "s": SSO', **files))
        self.server.sso_token = "another"
        self.bad("EACCES", "aws sso login", **files)
        self.bad("EACCES", "expired", "aws sso login", **self.sso(-10))
        self.bad("EINVAL", "aws sso login", **self.sso(expiresAt="never"))
        key = hashlib.sha1(b"corp").hexdigest()
        (self.dir / f".aws/sso/cache/{key}.json").unlink()
        self.bad("EINVAL", "no SSO token", "aws sso login", **files)
        self.bad("EINVAL", "sso-session", profile="s",
                 **self.aws("[profile s]\nsso_session = x\n"))

    # -- containers

    def test_container(self):
        token = self.file("token", "Bearer pod1\n")
        self.server.container_paths = {"/v1/credentials": {"Bearer pod1"}, "/v2/x": None}
        conf = dict(container_full_uri=self.server.url + "/v1/credentials",
                    container_token="Bearer stale", container_token_file=token)
        self.issued(self.good("container", **conf))
        token.write_text("Bearer pod2")
        self.bad("EACCES", "401", "authorization token", **conf)
        self.server.container_paths["/v1/credentials"] = {"Bearer pod2"}
        self.issued(self.good("container", **conf))
        self.issued(self.good("container", container_full_uri=self.server.url + "/v1/credentials",
                              container_token="Bearer pod2"))
        self.issued(self.good("container", container_relative_uri="/v2/x",
                              container_base=self.server.url))
        self.bad("EACCES", "404", "no such id", container_relative_uri="/v2/y",
                 container_base=self.server.url)
        self.bad("EINVAL", "begin with /", container_relative_uri="@evil/")

    def test_container_hosts(self):
        for url in ("http://10.0.0.1/", "http://169.254.170.3/", "http://localhost.evil.com/",
                    "http://127.0.0.1.evil.com/", "http://evil@10.0.0.1/", "http://[fd00::1]/",
                    "http://127.0.0.1@10.0.0.1/", "ftp://127.0.0.1/", "127.0.0.1/x", "http://"):
            self.bad("EINVAL", "FULL_URI", container_full_uri=url)
        for url in ("http://169.254.170.23/v1", "http://[fd00:ec2::23]/v1", "http://169.254.170.2/",
                    "http://127.0.0.99/", "http://[::1]/", "http://localhost/", "https://any.host/"):
            self.assertEqual(self.run_tool("look", container_full_uri=url), {"provider": "container"})
        self.bad("EINVAL", "line break", container_full_uri=self.server.url,
                 container_token="a\rX-Evil: b")

    def test_container_answers(self):
        conf = dict(container_full_uri=self.server.url + "/")
        whole = {"AccessKeyId": "A", "SecretAccessKey": "hush1", "Token": "t",
                 "Expiration": "2030-01-01T00:00:00Z"}
        for change in ({"AccessKeyId": ""}, {"AccessKeyId": "a\r\nb"}, {"SecretAccessKey": 5},
                       {"Expiration": "soon"}, {"Token": "t" * 9000}):
            self.server.always = (200, json.dumps({**whole, **change}))
            self.assertNotIn("hush1", self.bad("EINVAL", next(iter(change)), **conf))
        for text in ("[" * 100 + "]" * 100, "[]", "{", '{"a":1,"a":2}', '{"a":"\\ud800"}'):
            self.server.always = (200, text)
            self.bad("EINVAL", "JSON", **conf)

    # -- EC2

    def test_metadata(self):
        conf = dict(metadata_disabled="0", metadata_endpoint=self.server.url + "/")
        self.server.instance_role = "web-server"
        self.issued(self.good("instance metadata", **conf), account="")
        self.assertEqual([r[0] for r in self.server.requests], ["PUT", "GET", "GET"])
        self.server.instance_role = None
        self.bad("EINVAL", "no role", "instance profile", **conf)
        self.server.instance_role = "r"
        self.server.canned = [(403, "")]
        self.bad("EACCES", "session token (403)", "enabled", **conf)
        self.server.canned = [(200, "tok"), (401, "")]
        self.bad("EACCES", "401", "version 2", **conf)
        self.server.canned = [(200, "tok"), (200, "../x")]
        self.bad("EINVAL", "role", **conf)
        self.server.canned = [(200, "tok"), (200, "r"),
                              (200, json.dumps({"Code": "AssumeRoleUnauthorizedAccess",
                                                "Message": "EC2 cannot assume"}))]
        self.bad("EACCES", "AssumeRoleUnauthorizedAccess", "EC2 cannot assume", **conf)
        self.server.stop()
        start = time.monotonic()
        self.bad("EHOSTUNREACH", "no credentials are configured", "HttpPutResponseHopLimit is 2", **conf)
        self.assertLess(time.monotonic() - start, 10)
        self.server.port = 0


if __name__ == "__main__":
    unittest.main(verbosity=1)
