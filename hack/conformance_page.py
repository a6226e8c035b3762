"""Makes docs/conformance.md of what conformance tools and fuzzing found, see conformance.py."""

import json
import os
from pathlib import Path

from pages import write_or_compare

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "conformance.md"
# What is kept, and where the last run left its own.
KEPT = {
    "conformance": (ROOT / "conformance" / "results.json", ROOT / "target" / "conformance" / "results.json"),
    "fuzz": (ROOT / "fuzz" / "results.json", ROOT / "target" / "fuzz" / "results.json"),
}

# Cases of h2spec that fail, and why that is right.
EXPLAINED = {
    "3.5/2": "The case sends a line of text in place of the preface. These ports speak HTTP/1.1 as well and tell one from the other "
             "by the first bytes, so the line is a malformed request of HTTP/1.1: it is answered with 400 in HTTP/1.1, and the connection "
             "is closed. h2spec waits for the end alone and takes the answer for a frame that was cut off. Where ALPN has agreed on HTTP/2, "
             "as between sidecars, nothing else is taken and the case passes.",
}

HEAD = """# Conformance

What tools that others wrote say of the proxy, and how long it was fuzzed. `make conformance` runs the tools, `make fuzz` the
fuzzer; neither is part of `make test`. The page is made by `hack/check-conformance`.

The tools call four entries. Tools have no certificate of the mesh, so for the second a helper wraps their bytes in mutual TLS.

| entry | |
|---|---|
| inbound-plaintext | the proxy of a called pod, from a caller without a sidecar |
| inbound-mutual-tls | the same over mutual TLS, as from another proxy |
| outbound | the proxy of a calling pod, to a server without a sidecar |
| two-sidecars | both, with mutual TLS between them |
"""

H2SPEC = """
## HTTP/2: h2spec

[h2spec](https://github.com/summerwind/h2spec) 2.2.1, with prior knowledge, before a server that answers every request.

| entry | cases | passed | failed |
|---|---|---|---|
"""

WEBSOCKET = """
## WebSocket: Autobahn test suite

The [Autobahn test suite](https://github.com/crossbario/autobahn-testsuite) 25.10.1, groups 1 to 7, 9 and 10 (the
others are of compression, which concerns the two ends alone): its client against its own
server, without a proxy and through each entry. A proxy should be invisible, so a case counts when it comes out as
without one.

| entry | cases | as without a proxy | different |
|---|---|---|---|
"""

SLOW = """
## Clients that are slow: slowhttptest

slowhttptest opens up to 1,000 connections, 200 each second, and keeps each busy with as little as it can for up to 30 s; it ends
once all are closed, as by the limit of 10 s for headers. The application reads all of a request before it answers, and knows no
ranges. Meanwhile an ordinary client asks ten times a second over connections of its own, and counts whatever is not a whole response of 200 within 5 s.
All of it runs on one machine of two cores, beside other work: take times as an upper bound.

| entry | slow | connections at most | the service is available | requests | failed | p99 | slowest |
|---|---|---|---|---|---|---|---|
"""

WHAT_IS_SLOW = {
    "headers": "sending headers (slowloris)",
    "body": "sending a body",
    "ranges": "asking for many ranges",
    "reading": "reading the response",
}

FUZZ = """
## Fuzzing

`make fuzz` feeds every target of `fuzz/targets` with bytes that libFuzzer makes of the corpus, and holds what must be true for any
bytes. What was found and what covers most is kept in `fuzz/corpus` and tried by `make test`. So long each target ran
in all until now:

| target | CPU minutes | executions | files kept |
|---|---|---|---|
"""


def loaded(path):
    """What a file holds, if it is there."""
    return json.loads(path.read_text()) if path.is_file() else {}


def faults(results):
    """What failed and is not explained."""
    found = []
    for entry, counts in results.get("h2spec", {}).items():
        found += [f"h2spec {entry}: {failed['case']} {failed['what']}" for failed in counts["failed"]
                  if failed["case"] not in EXPLAINED]
    for entry, counts in results.get("websocket", {}).items():
        if counts.get("different"):
            found.append(f"websocket {entry}: different from without a proxy: {', '.join(counts['different'])}")
    for entry, modes in results.get("slow", {}).items():
        found += [f"slow {mode} {entry}: {met['failed']} requests failed" for mode, met in modes.items() if met["failed"]]
    return found


def page(results):
    """The text of the page."""
    tools, fuzz = results["conformance"], results["fuzz"]
    text = HEAD
    if "h2spec" in tools:
        text += H2SPEC
        failed = {}
        for entry, counts in tools["h2spec"].items():
            failed |= {case["case"]: case["what"] for case in counts["failed"]}
            names = ", ".join(case["case"] for case in counts["failed"]) or "none"
            text += f"| {entry} | {counts['tests']} | {counts['passed']} | {names} |\n"
        for case, what in failed.items():
            text += f"\n**{case}, {what[0].lower()}{what[1:]}.** {EXPLAINED.get(case, 'Not explained.')}\n"
    if "websocket" in tools:
        text += WEBSOCKET
        direct = tools["websocket"]["direct"]
        for entry, counts in tools["websocket"].items():
            if entry != "direct":
                different = ", ".join(counts["different"]) or "none"
                same = direct["cases"] - len(counts["different"])
                text += f"| {entry} | {counts['cases']} | {same} | {different} |\n"
        behaviors = ", ".join(f"{count} {behavior}" for behavior, count in sorted(direct["behaviors"].items()))
        text += f"\nWithout a proxy, in the words of the suite: {behaviors}.\n"
    if "slow" in tools:
        text += SLOW
        for entry, modes in tools["slow"].items():
            for mode, met in modes.items():
                text += (f"| {entry} | {WHAT_IS_SLOW[mode]} | {met['connected']} | {met['available']} of {met['seconds']} s "
                         f"| {met['requests']} | {met['failed']} | {met['p99_ms']} ms | {met['slowest_ms']} ms |\n")
    if fuzz:
        text += FUZZ
        for target, ran in sorted(fuzz.items()):
            files = len(list((ROOT / "fuzz" / "corpus" / target).iterdir()))
            text += f"| {target} | {ran['cpu_seconds'] / 60:.1f} | {ran['executions']:,} | {files} |\n"
    return text


def main():
    """Writes or compares."""
    results = {}
    for name, (kept, last) in KEPT.items():
        results[name] = loaded(kept)
        if os.environ.get("UPDATE") == "1" and last.is_file():
            results[name] |= loaded(last)
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(results[name], indent=1, sort_keys=True) + "\n")
    write_or_compare(PAGE, page(results), "the tools found", "check-conformance")
