"""What the probe of compare-and-set found, handed on from mount to mount (cas.state_dir).

A probe takes some 730 requests, as much as many a test does. So of the mounts of one server the first
probes, and the others are told, for their bucket and endpoint; also those behind a proxy that so far only
passes requests on. Tests with @pytest.mark.probes do without."""

import hashlib

_found = {}             # by the server's endpoint: the lines of the file


def _name(endpoint, bucket):
    """As path_of() in workers/server/cas_kept.c."""
    digest = hashlib.blake2b(f"{endpoint} {bucket}".encode(), digest_size=16).hexdigest()
    return f"probe-{digest[:16]}"


def is_known(server):
    """Whether a mount has probed it, with nothing between."""
    return server in _found


def give(directory, server, endpoint, bucket, but=None):
    """Puts what is known of the server where a mount of the bucket at this endpoint looks for it.
    but: what is otherwise, by the first word of its line."""
    lines = [f"{name} {but[name]}" if (name := line.split(" ")[0]) in (but or {}) else line
             for line in _found.get(server, ())]
    if not lines:
        return
    lines[1], lines[3] = f"endpoint {endpoint}", f"bucket {bucket}"
    path = directory / _name(endpoint, bucket)
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)


def take(directory, server, endpoint, bucket):
    """Remembers what a mount has found, with nothing between it and the server."""
    path = directory / _name(endpoint, bucket)
    if server == endpoint and server not in _found and path.exists():
        _found[server] = path.read_text().splitlines()
