"""A plain S3 client for looking at what the daemon did, beside the daemon: boto3, by raw key."""

import http.client
import shutil
import urllib.parse

import boto3
import botocore.config
import botocore.exceptions

from . import ACCESS, REGION, SECRET
from sigv4 import signed_head


def client(endpoint, access=ACCESS, secret=SECRET, attempts=1, timeout=30):
    config = botocore.config.Config(
        signature_version="s3v4", s3={"addressing_style": "path"},
        retries={"total_max_attempts": attempts, "mode": "standard"},
        connect_timeout=timeout, read_timeout=timeout,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required")
    return boto3.client("s3", endpoint_url=endpoint, region_name=REGION, config=config,
                        aws_access_key_id=access, aws_secret_access_key=secret)


class S3:
    """One bucket. Keys are whole keys, nothing is added to them."""

    def __init__(self, endpoint, bucket, root=None):
        self.endpoint, self.bucket, self.root = endpoint, bucket, root
        self.client = client(endpoint)

    def create(self):
        self.client.create_bucket(Bucket=self.bucket)
        return self

    def remove(self):
        """Everything at once, as a directory, where the server's data is at hand."""
        if self.root:
            shutil.rmtree(self.root / self.bucket, ignore_errors=True)
            return
        for key in self.list():
            self.delete(key)
        self.client.delete_bucket(Bucket=self.bucket)

    def put(self, key, data=b"", **kwargs):
        """Returns the ETag."""
        return self.client.put_object(Bucket=self.bucket, Key=key, Body=data, **kwargs)["ETag"]

    def get(self, key, **kwargs):
        return self.client.get_object(Bucket=self.bucket, Key=key, **kwargs)["Body"].read()

    def head(self, key, **kwargs):
        return self.client.head_object(Bucket=self.bucket, Key=key, **kwargs)

    def exists(self, key):
        try:
            self.head(key)
            return True
        except botocore.exceptions.ClientError as e:
            if e.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise

    def size(self, key):
        return self.head(key)["ContentLength"]

    def delete(self, key):
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def list(self, prefix=""):
        """{key: size} of every key with the prefix."""
        out = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                out[item["Key"]] = item["Size"]
        return out

    def uploads(self):
        """Multipart uploads that were begun and neither completed nor aborted."""
        found = self.client.list_multipart_uploads(Bucket=self.bucket)
        return [(u["Key"], u["UploadId"]) for u in found.get("Uploads", ())]

    def raw(self):
        return Raw(self.endpoint, self.bucket)

    def put_many(self, items):
        """Many small objects."""
        raw = self.raw()
        for key, data in items:
            raw.put(key, data)
        raw.close()


class Raw:
    """One connection to one bucket, a tenth of boto3's time a request. Answers that are not
    expected are an error."""

    def __init__(self, endpoint, bucket):
        self.bucket = bucket
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.conn = http.client.HTTPConnection(self.host, timeout=30)
        self.conn.connect()

    def close(self):
        self.conn.close()

    def _ask(self, method, key, data, *good):
        path = "/" + urllib.parse.quote(f"{self.bucket}/{key}", safe="/-_.~")
        head = signed_head(method, self.host, path, "", ACCESS, SECRET, REGION,
                           {"content-length": str(len(data))})
        self.conn.sock.sendall(head + data)
        answer = http.client.HTTPResponse(self.conn.sock, method=method)
        answer.begin()
        body = answer.read()
        if answer.status not in good:
            raise AssertionError(f"{method} {key}: {answer.status} {body[:500]!r}")
        return answer.status, body

    def put(self, key, data):
        self._ask("PUT", key, data, 200)

    def get(self, key):
        """None where there is nothing."""
        status, body = self._ask("GET", key, b"", 200, 404)
        return body if status == 200 else None

    def delete(self, key):
        self._ask("DELETE", key, b"", 204, 404)
