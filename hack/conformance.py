"""Runs conformance tools against whole proxies, and makes docs/conformance.md of what they found.

`run TOOLS` starts the proxies, which are a test of smilax-proxy that is ignored otherwise, and lets the tools call them.
Results go to target/conformance/results.json. `page` holds the page against the results that are kept in
conformance/results.json and fuzz/results.json; with UPDATE=1 it takes those of the last runs and writes the page.
"""

import csv
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import conformance_page

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "conformance"
LAST = WORK / "results.json"
# Groups of the Autobahn test suite. The others are of compression, which concerns the two ends alone.
GROUPS = [f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
# The server of the suite. It would refuse a Host that names another port than its own, as that of a proxy does.
ECHO = """
import sys
from autobahntestsuite.testee import TesteeServerFactory
from twisted.internet import reactor
port = int(sys.argv[1])
factory = TesteeServerFactory("ws://127.0.0.1:%d" % port)
factory.externalPort = None
reactor.listenTCP(port, factory, interface="127.0.0.1")
reactor.run()
"""
# Longer than all tools together.
SECONDS = 5400


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_proxies(websocket_port):
    """The process of the proxies, and their addresses by group and entry."""
    command = [os.environ["PROXIES"], "--ignored", "--nocapture", "entries_for_conformance_tools"]
    environment = os.environ | {"SMILAX_CONFORMANCE_SECONDS": str(SECONDS),
                                "SMILAX_CONFORMANCE_WEBSOCKET_PORT": str(websocket_port)}
    process = subprocess.Popen(command, cwd=ROOT / "proxy", env=environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    entries = {"http": {}, "websocket": {}}
    for line in process.stderr:
        words = line.split()
        if words[:1] == ["entry"]:
            host, port = words[3].rsplit(":", 1)
            entries[words[1]][words[2]] = (host, int(port))
        elif words[:3] == ["entries", "are", "ready"]:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, entries
    sys.exit("FAILED the proxies did not start")


def h2spec(entries):
    """Counts, and the cases that failed, of each entry."""
    found = {}
    for name, (host, port) in entries.items():
        done = subprocess.run([os.environ["H2SPEC"], "-h", host, "-p", str(port), "-o", "3"],
                              capture_output=True, text=True, timeout=900, check=False)
        (WORK / f"h2spec-{name}.log").write_text(done.stdout + done.stderr)
        counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
        if not counts:
            sys.exit(f"FAILED h2spec says nothing of {name}: {done.stdout[-500:]}{done.stderr[-500:]}")
        tests, passed, skipped, failed = map(int, counts.groups())
        found[name] = {"tests": tests, "passed": passed, "skipped": skipped, "failed": failures(done.stdout)}
        assert failed == len(found[name]["failed"])
        print(f"h2spec {name}: {passed} of {tests}, failed: {found[name]['failed']}", flush=True)
    return found


def failures(output):
    """Failed cases by section and number, from the summary behind `Failures:`."""
    cases, section = [], ""
    for line in output.partition("Failures:")[2].splitlines():
        heading = re.match(r"\s+([\w./]+)\. \S", line)
        failed = re.match(r"\s+× (\d+): (.*)", line)
        if failed:
            cases.append({"case": f"{section}/{failed[1]}", "what": failed[2]})
        elif heading:
            section = heading[1]
    return cases


def websocket(entries, port):
    """How many cases came out through each entry as they do without a proxy."""
    wstest = os.environ["WSTEST"]
    server = subprocess.Popen([Path(wstest).with_name("python"), "-c", ECHO, str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        agents = {"direct": ("127.0.0.1", port)} | entries
        found = {name: autobahn(wstest, name, *address) for name, address in agents.items()}
    finally:
        server.terminate()
        server.wait()
    direct = found.pop("direct")
    outcomes = {"direct": {"cases": len(direct), "behaviors": behaviors(direct)}}
    for name, cases in found.items():
        different = [case for case, outcome in direct.items() if cases.get(case) != outcome]
        outcomes[name] = {"cases": len(cases), "behaviors": behaviors(cases), "different": different}
        print(f"websocket {name}: {len(cases)} cases, different: {len(different)}", flush=True)
    return outcomes


def wait_for_port(port):
    """Returns once somebody listens."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"FAILED nobody listens on {port}")


def autobahn(wstest, name, host, port):
    """Behavior, and behavior at the end, of each case."""
    folder = WORK / f"websocket-{name}"
    specification = {"outdir": str(folder), "cases": GROUPS, "exclude-cases": [], "exclude-agent-cases": {},
                     "servers": [{"agent": name, "url": f"ws://{host}:{port}"}]}
    file = WORK / f"websocket-{name}.json"
    file.write_text(json.dumps(specification))
    with (WORK / f"websocket-{name}.log").open("w") as log:
        subprocess.run([wstest, "-m", "fuzzingclient", "-s", str(file)], stdout=log, stderr=log, timeout=1800, check=True)
    cases = json.loads((folder / "index.json").read_text())[name]
    return {case: [outcome["behavior"], outcome["behaviorClose"]] for case, outcome in cases.items()}


def behaviors(cases):
    """How many cases came out in which way."""
    counts = {}
    for behavior, _ in cases.values():
        counts[behavior] = counts.get(behavior, 0) + 1
    return counts


MODES = {
    "headers": ["-H", "-i", "5"],
    "body": ["-B", "-i", "5", "-s", "8192", "-x", "10"],
    "ranges": ["-R", "-a", "10", "-b", "3000"],
    "reading": ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"],
}


def slow(entries):
    """What an ordinary client meets meanwhile, by mode and entry."""
    found = {}
    for entry in ("inbound-plaintext", "outbound"):
        host, port = entries[entry]
        for mode, options in MODES.items():
            prefix = WORK / f"slow-{mode}-{entry}"
            client = OrdinaryClient(host, port)
            subprocess.run(["slowhttptest", "-c", "1000", "-r", "200", "-l", "30", "-p", "3", *options,
                            "-u", f"http://{host}:{port}/", "-g", "-o", str(prefix)],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, check=False)
            met = client.stop()
            rows = list(csv.DictReader((prefix.with_suffix(".csv")).open(), skipinitialspace=True))
            available = [row for row in rows if int(row["Service Available"]) > 0]
            met |= {"seconds": len(rows), "available": len(available),
                    "connected": max(int(row["Connected"]) for row in rows)}
            found.setdefault(entry, {})[mode] = met
            print(f"slow {mode} {entry}: {met}", flush=True)
    return found


class OrdinaryClient:
    """Asks ten times a second, each time over a connection of its own."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.times, self.failed, self.ends = [], 0, threading.Event()
        self.thread = threading.Thread(target=self.ask_on)
        self.thread.start()

    def ask_on(self):
        """Until it is told to stop."""
        while not self.ends.wait(0.1):
            began = time.monotonic()
            try:
                connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
                connection.request("GET", "/", headers={"host": "web"})
                answer = connection.getresponse()
                self.failed += answer.status != 200 or not answer.read()
                connection.close()
            except (OSError, http.client.HTTPException):
                self.failed += 1
            self.times.append(time.monotonic() - began)

    def stop(self):
        """What it met."""
        self.ends.set()
        self.thread.join()
        times = sorted(self.times)
        return {"requests": len(times), "failed": self.failed, "p99_ms": round(times[len(times) * 99 // 100] * 1000),
                "slowest_ms": round(times[-1] * 1000)}


def run(tools):
    """Runs the tools, and keeps what they found."""
    WORK.mkdir(parents=True, exist_ok=True)
    results = json.loads(LAST.read_text()) if LAST.is_file() else {}
    websocket_port = free_port()
    proxies, entries = start_proxies(websocket_port)
    try:
        if "h2spec" in tools:
            results["h2spec"] = h2spec(entries["http"])
        if "websocket" in tools:
            results["websocket"] = websocket(entries["websocket"], websocket_port)
        if "slow" in tools:
            results["slow"] = slow(entries["http"])
    finally:
        os.killpg(proxies.pid, 15)
    LAST.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    faults = conformance_page.faults(results)
    if faults:
        sys.exit("FAILED " + "\n       ".join(faults))
    print("ok     whatever failed is explained in docs/conformance.md")


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(sys.argv[2].split())
    else:
        conformance_page.main()
