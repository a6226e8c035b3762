"""Writes config/default/operator.yaml from the chart: what Helm would install, without Helm's own marks."""

import re
import sys

from charts import ROOT, render

TARGET = ROOT / "config" / "default" / "operator.yaml"
HEAD = "# Generated from charts/smilax by hack/render-config. Change the chart, not this file.\n"


def rendered(tools):
    """The operator's manifests for `kubectl apply`. Hooks are Helm's, so they are left out."""
    text = render(tools, "smilax", "--no-hooks")
    kept = (
        line
        for line in text.splitlines()
        if not re.match(r"# Source: |\s*(helm\.sh/chart|app\.kubernetes\.io/managed-by): ", line)
    )
    return HEAD + "\n".join(kept) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(rendered(sys.argv[1]))
    print(f"wrote {TARGET.relative_to(ROOT)}")
