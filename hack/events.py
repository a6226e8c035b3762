"""Makes docs/events.md: what requests meet while pods, operators and nodes fail, with the mesh and without.

What `make events` measured is kept in events/results.json; UPDATE=1 takes the results of the last run, in target/events,
into it, and writes the page. Without UPDATE, the page must be as it would be written.
"""

import json
import os
import re
import sys
from pathlib import Path

from pages import write_or_compare

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "events.md"
KEPT = ROOT / "events" / "results.json"
LAST = ROOT / "target" / "events" / "results.json"
SCENARIOS = ROOT / "events" / "src" / "scenario.rs"

HEAD = """# Events

What requests meet while pods, operators and nodes fail: the same pods with the mesh and without, in turn, on the cluster that
`e2e/cluster` makes (two nodes on one machine). `make events` runs all of it; `SCENARIOS="node-power fail-fast"` and
`RATES="300"` run a part. It fails when the mesh misses a bar.

The application takes 20 ms for a request. Readiness probes go on succeeding whatever fault is injected: what the tables show is the
balancer, not kubelet. Rollouts keep all replicas ready (`maxUnavailable: 0`). The mesh is installed with the chart's
defaults, so while no operator answers, rollouts wait (`injector.failurePolicy: Fail`).

The client runs in a pod of its own and calls the Service's ClusterIP over keep-alive connections, one request at a
time each: 32 at the start, used in turn, and one more whenever all are busy. So kube-proxy spreads the traffic over the pods as
evenly as it can without a mesh. Requests begin when they are due, whatever became of earlier ones, and latency counts
from then. Nothing is ever retried by the client, which gives up after 5 s.

| column | |
|---|---|
| lost | requests without a 2xx, or a gRPC status of OK: answers with 5xx, resets, refused connections, timeouts |
| in flight | requests inside of applications when these died, which nobody can save: as counted by pods that exit at once; after SIGKILL, twice what the pod holds on average |
| hung | requests that took 2 s longer than the application, answered or not |
| share | of all requests, what the affected pod got in the first 5 s, and from then until the cause was gone |
| errors until | the last request was due that was lost or hung, from the event on |
| back | the affected pod had at least half of its fair share again over one second, from the end of the cause on |

Bars for the mesh: never more lost outside of applications than without it, and nothing when pods are deleted while operators are
stopped; nothing hung, except inside of an application that hangs, and there not more than without it; a failing pod gets at
most half of two in the first 5 s and less than 5 % afterwards, one that is slow or hangs never more than half; a pod is back
within 10 s.

The page is made by `hack/check-events`.
"""

COLUMNS = ["requests/s", "mesh", "sent", "lost", "in flight", "hung", "share", "errors until", "back", "p50", "p99"]


def scenarios():
    """Id and description of each, in order."""
    return re.findall(r'^ +id: "([\w-]+)",\s+what: "([^"]+)"', SCENARIOS.read_text(), re.MULTILINE)


def results():
    """What was measured, by scenario."""
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    if os.environ.get("UPDATE") == "1" and LAST.is_file():
        for scenario, outcomes in json.loads(LAST.read_text()).items():
            rates = {one["rate"]: one for one in kept.get(scenario, []) + outcomes}
            kept[scenario] = [rates[rate] for rate in sorted(rates)]
        KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    return kept


def percent(value):
    return "–" if value is None else f"{value:g} %"


def back(value):
    if value == "not-asked":
        return ""
    return "never" if value == "never" else f"{value['after']:g} s"


def cells(rate, word, figures):
    """One row of a table."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(figures["lost_by_kind"].items()))
    shares = (figures["share_first"], figures["share_later"])
    until = figures["errors_until_s"]
    return [
        rate, word, figures["sent"],
        f"{figures['lost']} ({kinds})" if kinds else "0",
        figures["in_flight"], figures["hung"],
        "" if shares == (None, None) else " / ".join(map(percent, shares)),
        "" if until is None else f"{until:g} s",
        back(figures["back"]),
        f"{figures['p50_ms']:g} ms", f"{figures['p99_ms']:g} ms",
    ]


def row(values):
    return "| " + " | ".join(str(value) for value in values) + " |"


def page():
    """The text of the page."""
    known, measured = scenarios(), results()
    strangers = sorted(set(measured) - {name for name, _ in known})
    if not known or strangers:
        sys.exit(f"FAILED hack/events.py: scenarios that events/src/scenario.rs does not know: {strangers}")
    lines = [HEAD]
    total = passed = 0
    for name, what in known:
        lines += [f"## {name}", "", what[0].upper() + what[1:] + ".", ""]
        if name not in measured:
            lines += ["Not measured yet.", ""]
            continue
        lines += [row(COLUMNS), row(["---"] * len(COLUMNS))]
        for one in measured[name]:
            lines.append(row(cells(one["rate"], "without", one["without"])))
            lines.append(row(cells(one["rate"], "with", one["with"])))
        lines.append("")
        for one in measured[name]:
            total += 1
            passed += not one["missed"]
            lines += [f"- Missed at {one['rate']} requests/s: {bar}" for bar in one["missed"]]
        if any(one["missed"] for one in measured[name]):
            lines.append("")
    lines += [f"{passed} of {total} measurements kept every bar when they were last made.", ""]
    return "\n".join(lines)


def main():
    """Writes or compares."""
    write_or_compare(PAGE, page(), "events/results.json says", "check-events")


if __name__ == "__main__":
    main()
