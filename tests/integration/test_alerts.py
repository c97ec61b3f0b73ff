"""The alert rules and the dashboard: each query finds what it asks for in real scrapes, and each alert is documented."""

import json
import pathlib
import re
import threading

import pytest
import yaml

from harness import metrics
from harness.connector import Connector
from test_metrics import CAS, churn, promtool

ROOT = pathlib.Path(__file__).parents[2]
RULES = ROOT / "packaging/prometheus/stateproxy.rules.yml"
DASHBOARD = ROOT / "packaging/grafana/stateproxy.json"
NAME = re.compile(r"\bstateproxy_[a-z0-9_]+")
MATCHER = re.compile(r'\b(op|outcome|kind|state)=~?"([^"$]+)"')


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels():
    return json.loads(DASHBOARD.read_text())["panels"]


def dashboard_queries():
    return [t["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            for panel in panels() for t in panel["targets"]]


@pytest.fixture
def scrapes(mount, scratch, bucket):
    """Two real scrapes, with work of every kind between them."""
    at = scratch / "metrics.sock"
    m = mount(variant=CAS, env={"STATEPROXY_METRICS_LISTEN": at,
                                "CONNECTOR_SOCKET": scratch / "c.sock"})
    con = Connector(scratch / "c.sock")

    def work():
        stop, failures = threading.Event(), []
        t = threading.Thread(target=churn, args=(m.path, stop, 0, failures))
        t.start()
        try:
            for i in range(10):
                con.request("PUT", f"/keys/k{i}", body=b"x" * 1000)
                con.request("GET", f"/keys/k{i}")
        finally:
            stop.set()
            t.join()
        assert not failures, failures
    work()
    first = metrics.scrape(at)
    work()
    return first, metrics.scrape(at)


def test_every_name_is_real(scrapes):
    _, scrape = scrapes
    texts = [rule["expr"] for rule in alerts().values()] + dashboard_queries()
    assert len(alerts()) >= 15 and len(dashboard_queries()) >= 20
    values = {}
    for _, labels in scrape.samples:
        for name, value in labels:
            values.setdefault(name, set()).add(value)
    for text in texts:
        assert not (unknown := set(NAME.findall(text)) - scrape.names()), (text, unknown)
        for name, alternatives in MATCHER.findall(text):
            assert set(alternatives.split("|")) <= values[name], text


def series(first, last):
    """Of promtool's tests: as if each scrape had been repeated for some minutes."""
    def text(key):
        labels = {**dict(key[1]), "instance": "a:1", "job": "stateproxy"}
        inner = ",".join(f"{n}={json.dumps(v)}" for n, v in sorted(labels.items()))
        return f"{key[0]}{{{inner}}}"

    def number(value):
        return "+Inf" if value == float("inf") else repr(value)
    return [{"series": text(key),
             "values": f"{number(first.samples.get(key, 0))}x9 {number(value)}x9"}
            for key, value in last.samples.items()
            if value != float("inf")]      # which promtool cannot be given


def test_every_query_of_the_dashboard_has_a_result(scrapes, scratch):
    """promtool shows what it got where nothing was expected: that is how it evaluates a query."""
    never = {q for q in dashboard_queries() if "credentials_expiry" in q}     # they never expire here
    queries = sorted(set(dashboard_queries()) - never)
    assert len(never) == 1
    test = {"rule_files": [], "evaluation_interval": "1m", "tests": [
        {"interval": "1m", "input_series": series(*scrapes),
         "promql_expr_test": [{"expr": q, "eval_time": "11m", "exp_samples": []}
                              for q in queries]}]}
    (scratch / "t.yml").write_text(json.dumps(test))
    done = promtool("test", "rules", scratch / "t.yml", check=False)
    found = re.findall(r'expr: "((?:[^"\\]|\\.)*)", time: 11m', done.out + done.err)
    assert "could not parse" not in done.out + done.err, done
    assert sorted(json.loads(f'"{f}"') for f in found) == queries, done
    assert not re.search(r"got: *\n", done.out + done.err), done


def test_the_rules(scratch):
    promtool("check", "rules", RULES)
    document = (ROOT / "docs/OPERATIONS.md").read_text()
    described = set(re.findall(r"^### (Stateproxy\w+)$", document, re.MULTILINE))
    assert described == set(alerts())
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), name
        assert rule["annotations"]["summary"], name


FIRES = {      # an alert and figures, by the minute, at which it has to fire, and at which not
    "StateproxyDown": ({'up{job="stateproxy"}': "0x20"}, {'up{job="stateproxy"}': "1x20"}),
    "StateproxyS3Failing": (
        {'stateproxy_s3_requests_total{op="get",outcome="ok"}': "0+90x20",
         'stateproxy_s3_requests_total{op="get",outcome="timeout"}': "0+10x20"},
        {'stateproxy_s3_requests_total{op="get",outcome="ok"}': "0+99x20",
         'stateproxy_s3_requests_total{op="get",outcome="timeout"}': "0+1x20"}),
    "StateproxyS3Denied": (
        {'stateproxy_s3_requests_total{op="get",outcome="denied"}': "0+1x20"},
        {'stateproxy_s3_requests_total{op="get",outcome="denied"}': "5x20"}),
    "StateproxyS3Slow": (
        {'stateproxy_s3_request_duration_seconds_bucket{op="get",le="10"}': "0+9x20",
         'stateproxy_s3_request_duration_seconds_bucket{op="get",le="30"}': "0+10x20",
         'stateproxy_s3_request_duration_seconds_bucket{op="get",le="+Inf"}': "0+10x20"},
        {'stateproxy_s3_request_duration_seconds_bucket{op="get",le="10"}': "0+10x20",
         'stateproxy_s3_request_duration_seconds_bucket{op="get",le="+Inf"}': "0+10x20"}),
    "StateproxyDataDiscarded": (
        {"stateproxy_discarded_total": "0x14 2x6", "stateproxy_torn_total": "0x14 1x6"},
        {"stateproxy_discarded_total": "0x14 2x6", "stateproxy_torn_total": "0x14 2x6"}),
    "StateproxyCredentialsExpire": (
        {"stateproxy_credentials_expiry_timestamp_seconds": "1300x20"},
        {"stateproxy_credentials_expiry_timestamp_seconds": "5000x20"}),
    "StateproxySessionsUsedUp": (
        {"stateproxy_sessions": "60x20", "stateproxy_sessions_limit": "64x20"},
        {"stateproxy_sessions": "10x20", "stateproxy_sessions_limit": "64x20"}),
    "StateproxyRequestStuck": (
        {"stateproxy_oldest_request_age_seconds": "240+60x20"},
        {"stateproxy_oldest_request_age_seconds": "20x20"}),
    "StateproxyOverloaded": (
        {"stateproxy_overload_total": "0x14 2x6", "stateproxy_timed_out_requests_total": "0x20"},
        {"stateproxy_overload_total": "7x20", "stateproxy_timed_out_requests_total": "1x20"}),
    "StateproxyCredentialsNotRefreshed": (
        {"stateproxy_credentials_refresh_failures_total": "0+1x20"},
        {"stateproxy_credentials_refresh_failures_total": "0x14 1x6"}),
    "StateproxyWorkersDie": (
        {"stateproxy_worker_restarts_total": "0+1x20"},
        {"stateproxy_worker_restarts_total": "0x14 1x6"}),
    "StateproxyDoesNotEnd": ({"stateproxy_draining": "1x20"}, {"stateproxy_draining": "0x20"}),
    "StateproxyConflicts": (
        {"stateproxy_conflicts_total": "0+120x40"}, {"stateproxy_conflicts_total": "0+6x40"}),
    **{name: ({metric: "0x14 1x6"}, {metric: "1x20"}) for name, metric in {
        "StateproxyPublishFailed": "stateproxy_publish_failures_total",
        "StateproxyOutcomeUnknown": "stateproxy_unknown_outcomes_total",
        "StateproxyServerContradicts": "stateproxy_contradictions_total",
        "StateproxyUploadsLeft": "stateproxy_uploads_left_total"}.items()},
}


@pytest.mark.parametrize("fires", [True, False])
def test_alerts_fire(scratch, fires):
    assert set(FIRES) == set(alerts())
    tests = []
    for name, figures in FIRES.items():
        chosen = figures[0 if fires else 1]
        tests.append({
            "name": name, "interval": "1m",
            "input_series": [{"series": s, "values": v} for s, v in chosen.items()],
            "promql_expr_test": [{
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
                "eval_time": "35m" if name == "StateproxyConflicts" else "18m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}]})
    path = scratch / "t.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m",
                                "tests": tests}))
    promtool("test", "rules", path)
