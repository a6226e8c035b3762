"""Rules about alerts: they parse, ask for metrics that are there, and tell whoever is woken what to do."""

import re

import promql_parser

from charts import ROOT

SNAPSHOT = "proxy/src/metrics/snapshots/smilax_proxy__metrics__tests__names_types_and_labels_are_as_documented.snap"


def metrics():
    """Names of all that the operator and the proxy count: of the one by its source, of the other by its golden file."""
    proxy = re.findall(r"^# TYPE (\S+)", (ROOT / SNAPSHOT).read_text(), re.MULTILINE)
    operator = (
        name
        for path in sorted((ROOT / "operator/src").rglob("*.rs"))
        for name in re.findall(r'"(smilax_[a-z_]+)"', path.read_text())
    )
    return {*proxy, *operator}


def alerts_of(documents):
    for document in documents:
        if document["kind"] == "PrometheusRule":
            for group in document["spec"]["groups"]:
                yield from group["rules"]


def alerts_ask_for_metrics_that_there_are(documents):
    known = metrics()
    for rule in alerts_of(documents):
        try:
            promql_parser.parse(rule["expr"])
        except ValueError as error:
            yield f"{rule['alert']}: {error}"
        asked = set(re.findall(r"\bsmilax_\w+", rule["expr"]))
        if not asked:
            yield f"{rule['alert']} asks for nothing"
        for name in asked - known:
            yield f"{rule['alert']}: nobody counts {name}"


def alerts_say_what_to_do(documents):
    for rule in alerts_of(documents):
        for field in ("summary", "description"):
            if not rule.get("annotations", {}).get(field):
                yield f"{rule['alert']}: no {field}"
        if rule.get("labels", {}).get("severity") not in {"warning", "critical"}:
            yield f"{rule['alert']}: no severity"
