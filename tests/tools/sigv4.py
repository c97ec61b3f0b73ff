"""A small SigV4 signer for S3 requests over plain HTTP, on the standard library alone: for tests that
want a raw client, and for the proxy, which signs again what it takes a header away from."""

import datetime
import hashlib
import hmac
import re
import urllib.parse


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def sign(method, path, query, headers, signed, access, secret, region, amz_date, payload_hash):
    """The Authorization value. `path` and `query` are as on the wire, `headers` a lower-case dict,
    `signed` the names to sign."""
    signed = sorted(signed)
    pairs = []
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        pairs.append((urllib.parse.quote(urllib.parse.unquote(name), safe="-_.~"),
                      urllib.parse.quote(urllib.parse.unquote(value), safe="-_.~")))
    canonical = "\n".join([
        method, urllib.parse.quote(urllib.parse.unquote_to_bytes(path), safe="/-_.~"),
        "&".join(f"{n}={v}" for n, v in sorted(pairs)),
        "".join(f"{n}:{' '.join(headers.get(n, '').split())}\n" for n in signed),
        ";".join(signed), payload_hash])
    scope = f"{amz_date[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", amz_date, scope,
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = _hmac(_hmac(_hmac(_hmac(("AWS4" + secret).encode(), amz_date[:8]), region), "s3"),
                "aws4_request")
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return (f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={';'.join(signed)}, "
            f"Signature={signature}")


def signed_head(method, host, path, query, access, secret, region, headers=None,
                payload_hash="UNSIGNED-PAYLOAD"):
    """A whole request head, signed now, as bytes. `path` is percent-encoded."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    all_headers = {"host": host, "x-amz-date": now, "x-amz-content-sha256": payload_hash}
    all_headers.update(headers or {})
    names = [n for n in all_headers if n != "content-length"]
    all_headers["authorization"] = sign(method, path, query, all_headers, names, access, secret,
                                        region, now, payload_hash)
    target = path + ("?" + query if query else "")
    lines = [f"{method} {target} HTTP/1.1"] + [f"{n}: {v}" for n, v in all_headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class CannotSign(Exception):
    pass


def sign_again(head, without, credentials, changed=None):
    """`head` without the headers named and with those `changed` (lower-case name: value), signed again
    if one of them had been signed."""
    changed = changed or {}
    lines = head[:-4].split(b"\r\n")
    kept = [lines[0]]
    headers = {}
    removed = set()
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name = name.decode("latin-1").lower()
        if name in without:
            removed.add(name)
            continue
        if name in changed:
            line = f"{name}: {changed[name]}".encode("latin-1")
            value = changed[name].encode("latin-1")
        headers[name] = value.strip().decode("latin-1")
        kept.append(line)
    match = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/s3/aws4_request,\s*"
                     r"SignedHeaders=([^,]+),", headers.get("authorization", ""))
    if match and (removed | set(changed)) & set(match.group(4).split(";")):
        secret = credentials.get(match.group(1))
        if secret is None:
            raise CannotSign(f"no secret for access key {match.group(1)}")
        payload = headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        if payload.startswith("STREAMING-AWS4-HMAC"):
            raise CannotSign("the body is signed chunk by chunk")
        method, target, _ = lines[0].decode("latin-1").split(" ", 2)
        path, _, query = target.partition("?")
        names = [n for n in match.group(4).split(";") if n not in removed]
        value = sign(method, path, query, headers, names, match.group(1), secret,
                     match.group(3), headers["x-amz-date"], payload)
        kept = [line for line in kept if not line.lower().startswith(b"authorization:")]
        kept.append(b"Authorization: " + value.encode())
    return b"\r\n".join(kept) + b"\r\n\r\n"
