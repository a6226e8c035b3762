"""Makes docs/attack-campaign.md: what attacks cost a sidecar and an operator, and what their victims notice.

What `make attacks` measured is kept in attacks/results.json; UPDATE=1 takes the results of the last run, in target/attacks,
into it, and writes the page. Without UPDATE, the page must be as it would be written.
"""

import json
import os
import re
import sys
from pathlib import Path

from pages import write_or_compare

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "attack-campaign.md"
KEPT = ROOT / "attacks" / "results.json"
LAST = ROOT / "target" / "attacks" / "results.json"
CATALOGUE = ROOT / "attacks" / "src" / "catalogue.rs"

HEAD = """# Attack campaign

What attacks cost a sidecar and an operator, and what a victim notices that shares them with the attacker. `make attacks` runs
all of it in under 20 minutes; `ATTACKS="idle zero-window"` and `FAMILIES="ipv4"` run a part. It fails when a bar is missed.
What must become of each attack, and the tests that try it, are in [attacks](attacks.md).

Attacker, victim and pod are network namespaces that a bridge joins; nothing leaves the machine. Attacker, victim, application,
sidecar and operator have a cgroup each. Sidecar and operator are the release programs with the limits of the chart: 256 MiB, and
2 and 1 processors. The attacker has 4 addresses, and
processor time that nobody else needs, since on a cluster it has a node of its own. Every attack on a
sidecar begins with a new sidecar, with mutual TLS `permissive` and access `allow`; the operator is the same for all attacks on it,
with a real API server that no nodes belong to.

The victim of an attack on a sidecar sends 200 requests/s over 4 connections that are kept, or to ports of probes and metrics over a
new connection each. It begins requests when they are due, and gives up after 2 s. It is measured for 3 s without the attack,
for 5 s with it from its beginning on, and for 3 s without it again. The victim of an attack on a port of the
operator makes 20 calls a second, each over a new connection: a review of a pod, which must be injected, a request for a
certificate, `/healthz`. Elsewhere it changes a TrafficSplit again and again, and the latency is that from the write until the ConfigMap
of the account has it; in `forged-policy` and `replayed-policy`, that from the edit until the ConfigMap is right again.

| column | |
|---|---|
| attacker | connections opened, still open at the end, and refused; objects written |
| RSS | resident memory of the attacked process in MiB: before, at most, and 10 s after the attack |
| CPU | seconds of processor time of the attacked process during the attack, and for as long without it |
| p50, p99 | latency of the victim in ms with the attack, and without it (the mean of before and after) |
| lost | requests of the victim that failed during the attack |

Bars for a sidecar: RSS below 64 MiB, p99 below twice that without the attack, nothing lost. For the operator: RSS below
256 MiB, p99 of calls and changes below 1 s, of edits below 10 s, nothing lost, and in `regex-bombs` less than 50 ms of processor time for
each object. Neither may end.

The page is made by `hack/check-attack-campaign`.
"""

COLUMNS = ["attack", "items", "family", "attacker", "RSS", "CPU", "p50", "p99", "lost"]


def attacks():
    """Kind, id, items and description of each, in order."""
    row = r'^    (sidecar|operator)\(\s*"([\w-]+)",\s*"([A-Z\d ]+)",\s*"([^"]+)"'
    return re.findall(row, CATALOGUE.read_text(), re.MULTILINE)


def results():
    """What was measured, by attack."""
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    if os.environ.get("UPDATE") == "1" and LAST.is_file():
        for attack, outcomes in json.loads(LAST.read_text()).items():
            families = {one["family"]: one for one in kept.get(attack, []) + outcomes}
            kept[attack] = [families[family] for family in sorted(families)]
        KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    return kept


def pair(with_attack, before, after):
    """A latency with the attack and without it; nothing without, where nothing is measured."""
    without = (before + after) / 2
    return f"{with_attack:.1f}, {without:.1f}" if without else f"{with_attack:.1f}"


def did(tally):
    """What an attacker did."""
    if tally["objects"]:
        return f"{tally['objects']:,} objects"
    refused = f", {tally['failed']:,} refused" if tally["failed"] else ""
    return f"{tally['opened']:,} opened, {tally['open']:,} open{refused}"


def cells(name, items, outcome):
    """One row of a table."""
    figures = outcome["figures"]
    rss, (before, after), during = figures["rss"], figures["without"], figures["with"]
    ended = figures["fate"] == "ended"
    return [
        name, items, outcome["family"], did(figures["attacker"]),
        "ended" if ended else f"{rss['before']:.0f}, {rss['peak']:.0f}, {rss['after']:.0f}",
        "" if ended else f"{figures['cpu_s']:.1f}, {figures['cpu_without_s']:.1f}",
        pair(during["p50_ms"], before["p50_ms"], after["p50_ms"]),
        pair(during["p99_ms"], before["p99_ms"], after["p99_ms"]),
        f"{during['lost']} of {during['requests']:,}",
    ]


def row(values):
    return "| " + " | ".join(str(value) for value in values) + " |"


def page():
    """The text of the page."""
    known, measured = attacks(), results()
    strangers = sorted(set(measured) - {name for _, name, _, _ in known})
    if not known or strangers:
        sys.exit(f"FAILED hack/attack_campaign.py: attacks that attacks/src/catalogue.rs does not know: {strangers}")
    lines = [HEAD]
    total, missed = 0, []
    for kind in ["sidecar", "operator"]:
        lines += [f"## Against {'a sidecar' if kind == 'sidecar' else 'the operator'}", ""]
        own = [one[1:] for one in known if one[0] == kind]
        lines += ["| attack | what the attacker does |", "|---|---|"]
        lines += [row([name, what]) for name, _, what in own]
        lines += ["", row(COLUMNS), row(["---"] * len(COLUMNS))]
        for name, items, _ in own:
            for outcome in measured.get(name, []):
                lines.append(row(cells(name, items, outcome)))
                total += 1
                missed += [f"- Missed by {name} over {outcome['family']}: {bar}" for bar in outcome["missed"]]
        absent = [name for name, *_ in own if name not in measured]
        lines += [""] + ([f"Not measured yet: {', '.join(absent)}.", ""] if absent else [])
    broken = {line.split(":")[0] for line in missed}
    lines += missed + ([""] if missed else [])
    lines += [f"{total - len(broken)} of {total} measurements kept every bar when they were last made.", ""]
    return "\n".join(lines)


def main():
    """Writes or compares."""
    write_or_compare(PAGE, page(), "attacks/results.json says", "check-attack-campaign")


if __name__ == "__main__":
    main()
