"""Keeps what fuzzing found: how long each target ran, and the files that cover most."""

import fcntl
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "fuzz" / "results.json"
LAST = ROOT / "target" / "fuzz" / "results.json"
# A corpus is tried by every run of the tests.
MOST_BYTES = 300 * 1024
# Of those that the fuzzer made.
MOST_FILES = 100


def add(target, times, executions):
    """Adds a run to those before it. Several targets may be fuzzed at a time, so the file is locked, and replaced as a whole."""
    LAST.parent.mkdir(parents=True, exist_ok=True)
    with LAST.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = json.loads((LAST if LAST.is_file() else KEPT).read_text()) if LAST.is_file() or KEPT.is_file() else {}
        ran = results.setdefault(target, {"cpu_seconds": 0, "executions": 0})
        ran["cpu_seconds"] = round(ran["cpu_seconds"] + sum(map(float, times.split())))
        ran["executions"] += int(executions)
        written = LAST.with_suffix(".new")
        written.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        os.replace(written, LAST)


def keep(target, found):
    """Adds files that cover more to the corpus, small ones and large ones, until it is full. Those that people wrote stay."""
    corpus = ROOT / "fuzz" / "corpus" / target
    there = {file.read_bytes() for file in corpus.iterdir()}
    new = {file.name: file.read_bytes() for file in Path(found).iterdir() if file.read_bytes() not in there}
    names = sorted(new, key=lambda name: (len(new[name]), name))
    size = sum(map(len, there))
    for name in names[:: len(names) // MOST_FILES + 1]:
        if size + len(new[name]) <= MOST_BYTES:
            (corpus / name).write_bytes(new[name])
            size += len(new[name])


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep(*sys.argv[2:])
    else:
        add(*sys.argv[1:])
