"""Writes config/default from the charts: what Helm would install, without Helm's own marks."""

import re
import sys

import yaml

from charts import ROOT, render

FOLDER = ROOT / "config" / "default"
HEAD = "# Generated from charts/{} by hack/render-config. Change the chart, not this file.\n"


def plain(text):
    """Documents of a rendered chart, as text, without Helm's marks."""
    kept = (
        line
        for line in text.splitlines()
        if not re.match(r"# Source: |\s*(helm\.sh/chart|app\.kubernetes\.io/managed-by): ", line)
    )
    return [document.strip("\n") for document in "\n".join(kept).split("\n---\n")]


def of_kinds(documents, wanted):
    """Those of the documents whose kind is wanted."""
    return [text for text in documents if yaml.safe_load(text) and wanted(yaml.safe_load(text)["kind"])]


def rendered(tools):
    """Name and content of each file. The MeshConfig is a file of its own: `kubectl apply` knows its kind only when the definitions were
    applied before."""
    operator = plain(render(tools, "smilax"))
    roles = plain(render(tools, "smilax-crds"))
    files = {
        "operator.yaml": ("smilax", of_kinds(operator, lambda kind: kind != "MeshConfig")),
        "meshconfig.yaml": ("smilax", of_kinds(operator, lambda kind: kind == "MeshConfig")),
        "roles.yaml": ("smilax-crds", of_kinds(roles, lambda kind: kind == "ClusterRole")),
    }
    return {
        FOLDER / name: HEAD.format(chart) + "".join(f"---\n{text.removeprefix('---').strip()}\n" for text in texts)
        for name, (chart, texts) in files.items()
    }


if __name__ == "__main__":
    for path, content in rendered(sys.argv[1]).items():
        path.write_text(content)
        print(f"wrote {path.relative_to(ROOT)}")
