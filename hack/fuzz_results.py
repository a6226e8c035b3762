"""Keeps what fuzzing found: how long each target ran, and the files that cover most."""

import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "fuzz" / "results.json"
LAST = ROOT / "target" / "fuzz" / "results.json"
# A corpus is read by every run of the tests.
MOST_BYTES = 300 * 1024


def add(target, times, executions):
    """Adds a run to those before it."""
    results = json.loads((LAST if LAST.is_file() else KEPT).read_text()) if LAST.is_file() or KEPT.is_file() else {}
    ran = results.setdefault(target, {"cpu_seconds": 0, "executions": 0})
    ran["cpu_seconds"] = round(ran["cpu_seconds"] + sum(map(float, times.split())))
    ran["executions"] += int(executions)
    LAST.parent.mkdir(parents=True, exist_ok=True)
    LAST.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def keep(target, found):
    """Adds files that cover more to the corpus, the smallest first, until it is full. Those that people wrote stay."""
    corpus = ROOT / "fuzz" / "corpus" / target
    there = {file.read_bytes() for file in corpus.iterdir()}
    size = sum(map(len, there))
    for file in sorted(Path(found).iterdir(), key=lambda file: (file.stat().st_size, file.name)):
        content = file.read_bytes()
        if content in there or size + len(content) > MOST_BYTES:
            continue
        shutil.copyfile(file, corpus / file.name)
        size += len(content)


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep(*sys.argv[2:])
    else:
        add(*sys.argv[1:])
