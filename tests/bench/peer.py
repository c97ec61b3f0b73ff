"""The other side of each comparison: curl on the same objects, of the same server, in the same
run. Its URLs are signed beforehand, so that it does nothing but move bytes."""

import contextlib
import http.client
import os
import time
import urllib.parse
import xml.etree.ElementTree

from harness import ACCESS, REGION, SECRET, util
from sigv4 import signed_head

OPTIONS = ["curl", "-q", "--silent", "--show-error", "--fail", "--noproxy", "*"]


class Run:
    """seconds, and cpu_s of the curl processes."""

    def __init__(self, seconds, cpu_s):
        self.seconds, self.cpu_s = seconds, cpu_s

    def as_dict(self):
        return {"seconds": self.seconds, "cpu_s": self.cpu_s}


class Curl:
    def __init__(self, s3, scratch):
        self.s3, self.scratch = s3, scratch

    def url(self, action, key):
        return self.s3.client.generate_presigned_url(
            action, {"Bucket": self.s3.bucket, "Key": key}, ExpiresIn=86400)

    @staticmethod
    def run(commands):
        """All at once."""
        before, start = os.times(), time.monotonic()
        procs = [util.spawn(c, stdout=-3) for c in commands]
        for p in procs:
            util.finish(p, 300)
        seconds, after = time.monotonic() - start, os.times()
        return Run(seconds, after.children_user + after.children_system
                   - before.children_user - before.children_system)

    def get(self, keys):
        """Each by a process of its own."""
        return self.run([[*OPTIONS, "-o", "/dev/null", self.url("get_object", k)] for k in keys])

    def put(self, key, path):
        return self.run([[*OPTIONS, "-o", "/dev/null", "-H", "Expect:", "-T", path,
                           self.url("put_object", key)]])

    def put_parts(self, key, path, pieces):
        """As an upload in parts, all of them at once: pieces are (offset, bytes) of the file."""
        names = {"Bucket": self.s3.bucket, "Key": key}
        upload = self.s3.client.create_multipart_upload(**names)["UploadId"]
        commands = []
        for number, (at, n) in enumerate(pieces, 1):
            part = self.scratch / f"part{number}"
            with open(path, "rb") as f:
                f.seek(at)
                part.write_bytes(f.read(n))
            url = self.s3.client.generate_presigned_url(
                "upload_part", {**names, "UploadId": upload, "PartNumber": number}, ExpiresIn=86400)
            commands.append([*OPTIONS, "-o", "/dev/null", "-H", "Expect:", "-T", part, url])
        run = self.run(commands)
        parts = self.s3.client.list_parts(**names, UploadId=upload)["Parts"]
        self.s3.client.complete_multipart_upload(**names, UploadId=upload, MultipartUpload={
            "Parts": [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in parts]})
        return run

    def get_ranges(self, key, ranges):
        """One after the other, over one connection: ranges are (offset, bytes)."""
        config = self.scratch / "curl.conf"
        again = 'next\nsilent\nfail\nnoproxy = "*"\n'
        config.write_text(again.join(f'url = "{self.url("get_object", key)}"\nrange = "{at}-{at + n - 1}"\n'
                                     'output = "/dev/null"\n' for at, n in ranges))
        return self.run([[*OPTIONS, "-K", config]])

    def _many(self, action, keys, each):
        """One after the other, over one connection."""
        config = self.scratch / "curl.conf"
        with open(config, "w") as f:
            for key in keys:
                f.write(f'url = "{self.url(action, key)}"\n{each}output = "/dev/null"\n')
        return self.run([[*OPTIONS, "-K", config]])

    def get_many(self, keys):
        return self._many("get_object", keys, "")

    def put_many(self, keys, path):
        return self._many("put_object", keys, f'upload-file = "{path}"\n')


def list_pages(s3, prefix):
    """The same ListObjectsV2 requests by a bare client. (names, Run)"""
    host = urllib.parse.urlsplit(s3.endpoint).netloc
    names, token, cpu, start = 0, None, time.process_time(), time.monotonic()
    with contextlib.closing(http.client.HTTPConnection(host, timeout=60)) as conn:
        conn.connect()
        while token != "":
            query = {"delimiter": "/", "list-type": "2", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            text = urllib.parse.urlencode(sorted(query.items()), safe="-_.~",
                                          quote_via=urllib.parse.quote)
            conn.sock.sendall(signed_head("GET", host, "/" + s3.bucket, text, ACCESS, SECRET,
                                          REGION))
            answer = http.client.HTTPResponse(conn.sock)
            answer.begin()
            page = xml.etree.ElementTree.fromstring(answer.read())
            names += len(page.findall("{*}Contents"))
            token = page.findtext("{*}NextContinuationToken") or ""
    return names, Run(time.monotonic() - start, time.process_time() - cpu)
