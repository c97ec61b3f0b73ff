"""Sources of AWS credentials, as the real ones behave: STS, the metadata service of EC2, the endpoints of ECS and EKS
Pod Identity, the portal of SSO. One HTTP server for all; each checks what it is asked as strictly as the real one:
headers, form, signature, tokens. Only the standard library is used.

    with CredServer(issue) as server: ...      server.url, server.requests, server.errors

`issue(kind)` returns (access key, secret, session token, seconds to live) of new credentials.
"""

import calendar
import hashlib
import hmac
import http.server
import json
import threading
import time
import urllib.parse
import xml.sax.saxutils

ACCOUNT = "123456789012"
METADATA_TOKEN = "metadata-token-0123456789=="
XMLNS = "https://sts.amazonaws.com/doc/2011-06-15/"


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def hmac256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret, method, path, headers, signed, body, scope):
    """Of a request without a query."""
    day, region, service, _ = scope.split("/")
    canonical = "\n".join([method, urllib.parse.quote(path, safe="/"), "",
                           *(f"{n}:{' '.join(headers[n].split())}" for n in signed), "",
                           ";".join(signed), hashlib.sha256(body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope,
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac256(key, part)
    return hmac256(key, text).hex()


class Refused(Exception):
    def __init__(self, status, code, message="because"):
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, text, kind="text/plain", headers=()):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self):
        server = self.server.owner
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        headers = {n.lower(): v for n, v in self.headers.items()}
        url = urllib.parse.urlsplit(self.path)
        with server.lock:
            server.requests.append((self.command, self.path, headers, body.decode()))
            canned = server.canned.pop(0) if server.canned else server.always
        if canned:
            self.reply(*canned)
            return
        if self.command == "POST" and url.path == server.sts_path:
            self.sts(server, headers, body)
        elif url.path.startswith("/latest/"):
            self.metadata(server, headers, url.path)
        elif url.path == "/federation/credentials":
            self.sso(server, headers, dict(urllib.parse.parse_qsl(url.query)))
        else:
            self.container(server, headers, url.path)

    do_GET = do_POST = do_PUT = handle_any

    # -- STS

    def sts(self, server, headers, body):
        try:
            action, inner = self.sts_judge(server, headers, body)
        except Refused as e:
            message = xml.sax.saxutils.escape(e.message)
            self.reply(e.status, f'<ErrorResponse xmlns="{XMLNS}"><Error><Type>Sender</Type>'
                       f"<Code>{e.code}</Code><Message>{message}</Message></Error>"
                       "<RequestId>1</RequestId></ErrorResponse>", "text/xml")
            return
        self.reply(200, f'<{action}Response xmlns="{XMLNS}"><{action}Result>{inner}</{action}Result>'
                   f"<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{action}Response>",
                   "text/xml")

    def sts_judge(self, server, headers, body):
        if headers.get("content-type") != "application/x-www-form-urlencoded":
            raise Refused(400, "InvalidAction", "not a form")
        form = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True))
        action, role = form.get("Action"), form.get("RoleArn", "")
        if form.get("Version") != "2011-06-15" or not form.get("RoleSessionName"):
            raise Refused(400, "MissingParameter")
        if role not in server.roles:
            raise Refused(403, "AccessDenied", f"not authorized to perform: sts:{action}")
        if action == "AssumeRoleWithWebIdentity":
            if "authorization" in headers:
                raise Refused(400, "InvalidAction", "signed")
            if form.get("WebIdentityToken") not in server.web_tokens:
                raise Refused(400, "ExpiredTokenException", "Token expired")
        elif action == "AssumeRole":
            self.check_signature(server, headers, body)
            if server.roles[role] is not None and form.get("ExternalId") != server.roles[role]:
                raise Refused(403, "AccessDenied", "external id")
        else:
            raise Refused(400, "InvalidAction")
        access, secret, token, seconds = server.issue(action)
        return action, (
            f"<Credentials><AccessKeyId>{access}</AccessKeyId>"
            f"<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>"
            f"<Expiration>{iso(time.time() + seconds)}</Expiration></Credentials>"
            f"<AssumedRoleUser><AssumedRoleId>X:y</AssumedRoleId><Arn>arn:aws:sts::{ACCOUNT}:"
            f"assumed-role/r/{form['RoleSessionName']}</Arn></AssumedRoleUser>")

    def check_signature(self, server, headers, body):
        try:
            kind, _, rest = headers["authorization"].partition(" ")
            parts = dict(p.strip().split("=", 1) for p in rest.split(","))
            access, scope = parts["Credential"].split("/", 1)
            signed = parts["SignedHeaders"].split(";")
            secret, token = server.keys[access]
        except (KeyError, ValueError):
            raise Refused(403, "InvalidClientTokenId", "no such key") from None
        want = signature(secret, "POST", server.sts_path, headers, signed, body, scope)
        age = abs(time.time() - calendar.timegm(time.strptime(headers["x-amz-date"],
                                                              "%Y%m%dT%H%M%SZ")))
        if (kind != "AWS4-HMAC-SHA256" or scope.split("/")[2] != "sts" or age > 300
                or not {"host", "x-amz-date", "content-type"} <= set(signed)
                or headers.get("x-amz-security-token", "") != token
                or (token and "x-amz-security-token" not in signed)
                or not hmac.compare_digest(want, parts["Signature"])):
            raise Refused(403, "SignatureDoesNotMatch", "the signature does not match")

    # -- EC2

    def metadata(self, server, headers, path):
        roles = "/latest/meta-data/iam/security-credentials/"
        if path == "/latest/api/token":
            ttl = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            if self.command != "PUT" or not ttl.isdigit() or "x-forwarded-for" in headers:
                self.reply(400, "")
            else:
                self.reply(200, METADATA_TOKEN)
        elif headers.get("x-aws-ec2-metadata-token") != METADATA_TOKEN:
            self.reply(401, "")
        elif path == roles and server.instance_role:
            self.reply(200, server.instance_role)
        elif path == roles + str(server.instance_role):
            access, secret, token, seconds = server.issue("metadata")
            self.reply(200, json.dumps({
                "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": iso(time.time()),
                "AccessKeyId": access, "SecretAccessKey": secret, "Token": token,
                "Expiration": iso(time.time() + seconds)}))
        else:
            self.reply(404, "")

    # -- ECS, EKS

    def container(self, server, headers, path):
        want = server.container_paths.get(path)
        if path not in server.container_paths or headers.get("accept") != "application/json":
            self.reply(404, json.dumps({"code": "NotFound", "message": "no such id"}))
        elif want is not None and headers.get("authorization") not in want:
            self.reply(401, json.dumps({"code": "Unauthorized", "message": "no"}))
        else:
            access, secret, token, seconds = server.issue("container")
            self.reply(200, json.dumps({
                "AccessKeyId": access, "SecretAccessKey": secret, "Token": token,
                "Expiration": iso(time.time() + seconds), "AccountId": ACCOUNT}),
                "application/json")

    # -- SSO

    def sso(self, server, headers, query):
        if headers.get("x-amz-sso_bearer_token") != server.sso_token:
            self.reply(401, json.dumps({"message": "Session token not found or invalid"}))
        elif query.get("role_name") != "reader" or query.get("account_id") != ACCOUNT:
            self.reply(403, json.dumps({"message": "No access"}))
        else:
            access, secret, token, seconds = server.issue("sso")
            self.reply(200, json.dumps({"roleCredentials": {
                "accessKeyId": access, "secretAccessKey": secret, "sessionToken": token,
                "expiration": int((time.time() + seconds) * 1000)}}))


class CredServer:
    def __init__(self, issue):
        self.issue_fn = issue
        self.lock = threading.Lock()
        self.requests = []
        self.canned = []        # answers (status, text) that come before any judgement, once each
        self.always = None      # or this one for ever
        self.issued = []
        self.roles = {}         # ARN -> external id, None = none is asked for
        self.web_tokens = set()
        self.keys = {}          # access key -> (secret, session token): who may AssumeRole
        self.instance_role = None
        self.container_paths = {}       # path -> authorizations, None = none is asked for
        self.sso_token = None
        self.sts_path = "/"
        self.httpd = None
        self.port = 0

    def issue(self, kind):
        got = self.issue_fn(kind)
        with self.lock:
            self.issued.append((kind, *got))
        return got

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Also again, on the port that it had."""
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.httpd.daemon_threads = True
        self.httpd.owner = self
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        if self.httpd:
            self.httpd.shutdown()
            self.httpd.server_close()
            self.httpd = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
