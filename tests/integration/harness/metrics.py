"""Scrapes as Prometheus makes them, and what is in them."""

import http.client
import re
import socket

from . import SLOW

SAMPLE = re.compile(r"^(?P<name>[a-z0-9_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)')
ESCAPED = re.compile(r"\\(.)")


def unescape(text):
    return ESCAPED.sub(lambda m: "\n" if m[1] == "n" else m[1], text)


def parse_labels(text):
    found = LABEL.findall(text or "")
    assert ",".join(f'{n}="{v}"' for n, v in found) == (text or ""), text
    return tuple(sorted((n, unescape(v)) for n, v in found))


class Scrape:
    """`types` by family, `samples` by (name, labels)."""

    def __init__(self, text):
        self.types, self.samples, self.text = {}, {}, text
        assert text.endswith("\n")
        family = None
        for line in text.splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ")[2]
                assert family not in self.types, f"{family} twice"
                continue
            if line.startswith("# TYPE "):
                name, kind = line.split(" ")[2:]
                assert name == family
                self.types[name] = kind
                continue
            m = SAMPLE.match(line)
            assert m, line
            assert m["name"].startswith(family), f"{line} in {family}"
            key = (m["name"], parse_labels(m["labels"]))
            assert key not in self.samples, f"{key} twice"
            self.samples[key] = float(m["value"])

    def get(self, name, **labels):
        """The value of one sample; 0 where there is none of the family's yet."""
        return self.samples.get((name, tuple(sorted(labels.items()))), 0.0)

    def sum(self, name, **labels):
        want = set(labels.items())
        return sum(v for (n, have), v in self.samples.items() if n == name and want <= set(have))

    def labels(self, name):
        """Of each sample of this name, as a dict."""
        return [dict(have) for n, have in self.samples if n == name]

    def names(self):
        return {name for name, _ in self.samples} | set(self.types)

    def growing(self):
        """Every sample that may never fall."""
        kinds = {"counter", "histogram"}
        growing = {name for name, kind in self.types.items() if kind in kinds}
        for name in [n for n in growing if self.types[n] == "histogram"]:
            growing |= {name + "_bucket", name + "_sum", name + "_count"}
        return {key: v for key, v in self.samples.items() if key[0] in growing}


class Connection(http.client.HTTPConnection):
    """To a path, or to (host, port)."""

    def __init__(self, where, timeout=20.0):
        super().__init__("localhost", timeout=timeout * SLOW)
        self.where = where

    def connect(self):
        if isinstance(self.where, tuple):
            self.sock = socket.create_connection(self.where, self.timeout)
        else:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self.where))


def fetch(where, path, method="GET", body=None):
    """(status, headers, body) of one request."""
    conn = Connection(where)
    try:
        conn.request(method, path, body)
        answer = conn.getresponse()
        return answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()
    finally:
        conn.close()


def scrape(where):
    status, headers, body = fetch(where, "/metrics")
    assert status == 200, (status, body)
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(body.decode("utf-8"))
