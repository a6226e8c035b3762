"""What the checks of charts and configuration share: where things are, and how charts are rendered."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHARTS = ROOT / "charts"
GOLDEN = CHARTS / "golden"
MANIFESTS = ROOT / "crds" / "manifests"
NAMESPACE = "smilax-system"
KUBERNETES = "1.34.0"
# What the cluster knows when smilax-crds was installed first.
MESH_CONFIG = "mesh.smilax.dev/v1alpha1/MeshConfig"


def render(tools, chart, *arguments, namespace=NAMESPACE):
    """Text of a rendered chart."""
    command = [
        Path(tools) / "helm", "template", chart, CHARTS / chart,
        "--namespace", namespace, "--kube-version", KUBERNETES, "--api-versions", MESH_CONFIG, *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"


def notes(tools, chart, *arguments):
    """What an upgrade to a chart prints. Helm shows it only where it reaches a cluster, so it is put into a ConfigMap."""
    with tempfile.TemporaryDirectory() as directory:
        copied = Path(directory) / chart
        shutil.copytree(CHARTS / chart, copied)
        (copied / "templates" / "NOTES.txt").rename(copied / "NOTES-text")
        shown = copied / "templates" / "notes.yaml"
        shown.write_text(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\n"
            'data: {notes: {{ tpl (.Files.Get "NOTES-text") . | toJson }}}\n'
        )
        command = [
            Path(tools) / "helm", "template", chart, copied, "--is-upgrade", "--namespace", NAMESPACE,
            "--kube-version", KUBERNETES, "--show-only", "templates/notes.yaml", *arguments,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return yaml.safe_load(done.stdout)["data"]["notes"]


def documents(text):
    """Objects of a stream of YAML documents."""
    return [document for document in yaml.safe_load_all(text) if document]


def name_of(document):
    """Kind and name, for messages."""
    return f"{document['kind']} {document['metadata']['name']}"
