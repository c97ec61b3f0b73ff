"""A plain S3 client for looking at what the daemon did, beside the daemon: boto3, by raw key."""

import functools
import shutil

import boto3
import botocore.config
import botocore.exceptions

from . import ACCESS, REGION, SECRET
from .raw_s3 import Raw


@functools.lru_cache(maxsize=8)
def client(endpoint, access=ACCESS, secret=SECRET, attempts=1, timeout=30):
    """Kept: making one takes boto3 longer than most of what tests ask of it. Threads may share it."""
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

    def parts(self, key, upload):
        """Numbers of the parts that an incomplete upload has."""
        found = self.client.list_parts(Bucket=self.bucket, Key=key, UploadId=upload)
        return [p["PartNumber"] for p in found.get("Parts", ())]

    def raw(self):
        return Raw(self.endpoint, self.bucket)

    def put_many(self, items):
        """Many small objects."""
        raw = self.raw()
        for key, data in items:
            raw.put(key, data)
        raw.close()
