"""What a request is (Exchange), and what the rules of a test want to happen to it (Rule, Plan)."""

import fnmatch
import random
import re
import urllib.parse

import s3proxy_habits
import s3proxy_mangle
from s3proxy_wire import Gone

OPERATIONS = ("GetObject", "HeadObject", "PutObject", "DeleteObject", "ListObjectsV2", "CopyObject",
              "HeadBucket", "CreateMultipartUpload", "UploadPart", "UploadPartCopy",
              "CompleteMultipartUpload", "AbortMultipartUpload", "DeleteObjects",
              "GetObjectTagging", "Other")

ACTIONS = {                     # action -> its parameters and their defaults
    "delay": {"ms": 0, "when": "before"},               # when: before | after (the server acted)
    "drop": {"ms": 0},              # server acts, no answer, closed (after so long without a word)
    "reset": {"when": "before"},                        # when: before | after (the server acted)
    "cut_request": {"at": 0.5},                         # fraction, or bytes when above 1
    "cut_response": {"at": 0.5, "reset": False},
    "answer": {"status": 500, "code": None, "message": None, "retry_after": None, "headers": {},
               "body": None, "early": False, "acted": False},
    "rewrite": {"status": 200, "from_status": None, "headers": {}, "body": None},
    "strip": {"headers": ["if-match", "if-none-match"],
              "missing_only": False},                   # only where the key does not exist
    "habit": s3proxy_habits.PARAMS,
    "mangle": s3proxy_mangle.PARAMS,
    "flip_request": {"at": 0.5},        # one bit of the request's body arrives as another
    "nolock": {"pause_ms": 0, "name": None},
    # keeps If-Match and If-None-Match on the target of CopyObject, which the server behind ignores: under
    # a lock that all changes of the key take. unlocked: without the lock, so that several may win
    "copy_conditions": {"unlocked": False},
    # a listing as another server would make it: s3proxy_list.py
    "list": {"order": "keys",               # keys | prefixes first; shuffled: within each kind
             "shuffle": 0,                  # how
             "page": None,                  # entries of a page at most
             "ignore": [],                  # parameters: start-after, continuation-token, max-keys
             "compare": "keys",             # coded: start-after with keys as they are in the answer
             "uncounted": False,            # prefixes do not count, and all come at once
             "folders": False,              # folders stay without objects, until they are deleted
             "keys": [],                    # listed, too
             "only_keys": False},           # nothing else is
    "hold": {"name": "held", "when": "before", "detach": False},    # when: before | mid | after
}
MATCH = {"op": None, "key": None, "key_regex": None, "bucket": None, "method": None,
         "query": None,         # glob
         "having": {},          # request headers: name -> glob, or None where it must be absent
         "min_bytes": None, "max_bytes": None}
SELECT = {"nth": None, "skip": 0, "times": None, "probability": 1.0, "seed": 0}

CONDITIONS = ("if-match", "if-none-match", "x-amz-copy-source-if-match",
              "x-amz-copy-source-if-none-match")


def classify(method, path, query, headers):
    """(operation, bucket, key) of a path-style request; the key of a listing is its prefix."""
    bucket, _, key = path.lstrip("/").partition("/")
    bucket, key = urllib.parse.unquote(bucket), urllib.parse.unquote(key)
    names = {p.partition("=")[0] for p in query.split("&")} if query else ()
    if not key:
        return _classify_bucket(method, bucket, query, names)
    if "uploadId" in names:
        op = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload",
              "DELETE": "AbortMultipartUpload"}.get(method, "Other")
        if op == "UploadPart" and "x-amz-copy-source" in headers:
            op = "UploadPartCopy"
    elif method == "POST":
        op = "CreateMultipartUpload" if "uploads" in names else "Other"
    elif method == "GET" and "tagging" in names:
        op = "GetObjectTagging"
    elif {"tagging", "acl", "attributes", "retention", "legal-hold", "restore"} & set(names):
        op = "Other"
    elif method == "PUT":
        op = "CopyObject" if "x-amz-copy-source" in headers else "PutObject"
    else:
        op = {"GET": "GetObject", "HEAD": "HeadObject",
              "DELETE": "DeleteObject"}.get(method, "Other")
    return op, bucket, key


def _classify_bucket(method, bucket, query, names):
    if method == "GET" and "list-type" in names:
        args = urllib.parse.parse_qs(query, keep_blank_values=True)
        return "ListObjectsV2", bucket, args.get("prefix", [""])[0]
    if method == "HEAD" and bucket:
        return "HeadBucket", bucket, ""
    if method == "POST" and "delete" in names:
        return "DeleteObjects", bucket, ""
    return "Other", bucket, ""


def defaults(action):
    return {**ACTIONS[action], **MATCH, **SELECT}


class Rule:
    """What to do (action and its parameters) with which requests (MATCH), and how often (SELECT)."""

    def __init__(self, number, action, args):
        if action not in ACTIONS:
            raise ValueError(f"unknown action {action!r}, there are {', '.join(ACTIONS)}")
        known = defaults(action)
        for name in args:
            if name not in known:
                raise ValueError(f"{action}: unknown parameter {name!r}, there are "
                                 f"{', '.join(known)}")
        self.number, self.action = number, action
        self.args = {**known, **args}
        if action == "habit":
            s3proxy_habits.check(self.args)
        if action == "mangle":
            s3proxy_mangle.check(self.args)
        self.params = {n: self.args[n] for n in ACTIONS[action]}
        self.regex = re.compile(self.args["key_regex"]) if self.args["key_regex"] else None
        self.random = random.Random(self.args["seed"])
        self.matched = self.applied = 0

    def wants(self, exchange):
        """Whether it applies to this request; counts it."""
        if not self._matches(exchange):
            return False
        a = self.args
        self.matched += 1
        if a["nth"] is not None and self.matched != a["nth"]:
            return False
        if self.matched <= a["skip"]:
            return False
        if a["times"] is not None and self.applied >= a["times"]:
            return False
        if a["probability"] < 1 and self.random.random() >= a["probability"]:
            return False
        self.applied += 1
        return True

    def _matches(self, x):
        a = self.args
        ops = a["op"]
        if ops is not None and x.op not in ([ops] if isinstance(ops, str) else ops):
            return False
        if a["key"] is not None and not fnmatch.fnmatchcase(x.key, a["key"]):
            return False
        if self.regex and not self.regex.search(x.key):
            return False
        if a["bucket"] is not None and x.bucket != a["bucket"]:
            return False
        if a["method"] is not None and x.method != a["method"]:
            return False
        if a["query"] is not None and not fnmatch.fnmatchcase(x.query, a["query"]):
            return False
        size = x.request_length or 0
        if a["min_bytes"] is not None and size < a["min_bytes"]:
            return False
        if a["max_bytes"] is not None and size > a["max_bytes"]:
            return False
        for name, pattern in a["having"].items():
            value = x.headers.get(name.lower())
            if (pattern is None) != (value is None):
                return False
            if value is not None and not fnmatch.fnmatchcase(value, pattern):
                return False
        return True

    def describe(self):
        args = {n: v for n, v in self.args.items()
                if v != defaults(self.action)[n]}
        return {"id": self.number, "action": self.action, "matched": self.matched,
                "applied": self.applied, **args}


class Plan:
    """What the rules want for one request: any number of delays, holds, strips, habits and rewrites, and
    at most one ending."""

    ENDINGS = ("drop", "reset", "cut_request", "cut_response", "answer", "nolock", "mangle")

    def __init__(self):
        self.delay_before = self.delay_after = 0.0
        self.holds = []
        self.strip = []
        self.strip_missing = []         # where the key does not exist
        self.rewrites = []
        self.listing = None
        self.habits = []
        self.flips = []
        self.copy_conditions = None
        self.ending = None
        self.args = {}
        self.names = []

    def add(self, rule):
        p = rule.params
        self.names.append(rule.action)
        if rule.action == "delay":
            if p["when"] == "after":
                self.delay_after += p["ms"] / 1000
            else:
                self.delay_before += p["ms"] / 1000
        elif rule.action == "hold":
            self.holds.append(p)
        elif rule.action == "strip":
            names = [n.lower() for n in p["headers"]]
            if p["missing_only"]:
                self.strip_missing += names
            else:
                self.strip += names
        elif rule.action == "list":
            self.listing = p
        elif rule.action == "habit":
            self.habits.append(p)
        elif rule.action == "copy_conditions":
            self.copy_conditions = p
        elif rule.action == "flip_request":
            self.flips.append(p)
        elif rule.action == "rewrite":
            self.rewrites.append(p)
        else:
            self.ending, self.args = rule.action, p

    def is_(self, ending, **args):
        return self.ending == ending and all(self.args.get(n) == v for n, v in args.items())


NO_PLAN = Plan()


class Exchange:
    """One request and what became of it."""

    __slots__ = ("number", "connection", "op", "bucket", "key", "method", "query", "headers",
                 "request_length", "status", "etag", "faults", "error", "start", "sent", "end",
                 "bytes_in", "bytes_out", "range")

    FIELDS = ("number", "connection", "op", "bucket", "key", "method", "query", "range", "status",
              "etag", "faults", "error", "start", "sent", "end", "bytes_in", "bytes_out")

    def __init__(self, number, connection, first_line, headers, start):
        self.number, self.connection = number, connection
        try:
            self.method, target, _ = first_line.split(" ", 2)
        except ValueError:
            raise Gone(f"not a request: {first_line[:80]!r}") from None
        path, _, self.query = target.partition("?")
        self.headers = headers
        self.op, self.bucket, self.key = classify(self.method, path, self.query, headers)
        self.range = headers.get("range")
        self.request_length = None
        self.status = self.etag = self.error = None
        self.faults = ()
        self.start, self.sent, self.end = start, None, None
        self.bytes_in = self.bytes_out = 0

    def as_dict(self):
        out = {n: getattr(self, n) for n in self.FIELDS}
        out["conditions"] = {n: self.headers[n] for n in CONDITIONS if n in self.headers}
        out["headers"] = self.headers
        return out
