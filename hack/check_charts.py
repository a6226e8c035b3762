"""Renders the charts with every combination of values that matters, and judges what comes out."""

import copy
import difflib
import os
import subprocess
import sys
import tempfile
import tomllib
import warnings
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

import broken
import render_config
import rules
from charts import CHARTS, GOLDEN, KUBERNETES, MANIFESTS, NAMESPACE, ROOT, documents, name_of, notes, render

UPDATE = os.environ.get("UPDATE") == "1"
SMILAX = CHARTS / "smilax"

# Name of the golden file, and the values that it shows.
COMBINATIONS = {
    "default": [],
    "ha": ["--values", SMILAX / "values-ha.yaml"],
    "text-logs": ["--set", "log.format=text", "--set", "log.level=debug"],
    "own-registry": [
        "--set", "image.registry=registry.example.com/mesh",
        "--set", "image.tag=0.1.0-rc.1",
        "--set", f"image.digest=sha256:{'fedcba9876543210' * 4}",
        "--set", "proxy.image.registry=registry.example.com/mesh",
        "--set", f"proxy.image.digest=sha256:{'0123456789abcdef' * 4}",
        "--set", "imagePullSecrets={pull}",
    ],
    "one-replica": ["--set", "replicas=1", "--set", "antiAffinity=hard", "--set", "uninstallHook.enabled=false", "--set", "meshConfig.create=false"],
    # As Helm keeps it for `helm uninstall`; elsewhere it is not rendered, since `helm template` cannot know what for.
    "uninstall-hook": ["--set", "uninstallHook.inTemplates=true"],
    "helm-test": ["--set", "helmTest.inTemplates=true"],
    "placed": [
        "--set", "nodeSelector.pool=system",
        "--set", "tolerations[0].key=system", "--set", "tolerations[0].operator=Exists",
        "--set", "priorityClassName=system-cluster-critical",
        "--set", "podLabels.team=platform", "--set-string", "podAnnotations.note=1",
        "--set-json", 'affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":'
        '[{"matchExpressions":[{"key":"arch","operator":"In","values":["amd64"]}]}]}}}',
        "--set-json", 'topologySpreadConstraints=[{"topologyKey":"rack","maxSkew":1,"whenUnsatisfiable":"DoNotSchedule"}]',
    ],
    "proxy-settings": [
        "--set", "proxy.resources.limits.cpu=500m", "--set", "proxy.resources.limits.memory=64Mi",
        "--set", "proxy.logLevel=warn", "--set", "proxy.drainSeconds=5", "--set", "clusterDomain=corp.example",
    ],
    "no-network-policy": ["--set", "networkPolicy.enabled=false", "--set", "injector.excludedNamespaces={ci}"],
    "given-authority": [
        "--set", "certificates.authoritySecret=corporate-issuer", "--set", "certificates.lifetimeSeconds=3600",
    ],
    "closed": ["--set", "access.closed=true", "--set", "meshConfig.spec.pathRegexMode=full"],
    "alerts": ["--set", "prometheusRule.enabled=true", "--set", "prometheusRule.labels.release=monitoring"],
    # Without admission policies, which are of version v1 since 1.30.
    "kubernetes-1-29": ["--kube-version", "1.29.0"],
    "open-metrics": ["--set", "networkPolicy.metricsFrom[0].ipBlock.cidr=10.0.0.0/8"],
}

# Values that must be refused, and a part of what is said about them.
REFUSED = {
    "replica=3": "replica",
    "replicas=0": "replicas",
    "proxy.logLevel=verbose": "proxy.logLevel",
    "log.level=lots": "log.level",
    "image.registry=registry.example.com/": "image.registry",
    "proxy.image.repository=/smilax-proxy": "proxy.image.repository",
    "topologySpreadConstraints[0].topologyKey=rack": "maxSkew",
    "access.mode=open": "access.mode",
    "image.tagg=1": "tagg",
    "image.digest=sha256:1": "image.digest",
    "image.pullPolicy=Sometimes": "image.pullPolicy",
    "proxy.resources.limits.cpu=": "proxy.resources.limits.cpu",
    "proxy.resources.limits.cpus=1": "cpus",
    "proxy.drainSeconds=-1": "proxy.drainSeconds",
    "log.format=xml": "log.format",
    "antiAffinity=maybe": "antiAffinity",
    "injector.failurePolicy=fail": "injector.failurePolicy",
    "injector.timeoutSeconds=60": "injector.timeoutSeconds",
    "networkPolicy.metricsFrom[0].podSelectors.a=b": "podSelectors",
    "clusterDomain=not_a_domain": "clusterDomain",
    "certificates.lifetimeSeconds=30": "certificates.lifetimeSeconds",
    "certificates.authoritySecret=smilax-ca": "certificates.authoritySecret",
    "prometheusRule.labels.release=1": "prometheusRule.labels",
}

problems = []


def problem(text):
    problems.append(text)
    print(f"FAILED {text}")


def passed(text):
    print(f"ok     {text}")


def golden(path, text):
    """Compares with the stored text, or stores it."""
    shown = path.relative_to(ROOT)
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return
    stored = path.read_text() if path.exists() else ""
    if stored != text:
        difference = difflib.unified_diff(
            stored.splitlines(), text.splitlines(), str(shown), "rendered now", lineterm="", n=2
        )
        print("\n".join(list(difference)[:60]))
        problem(f"{shown} is not what the chart renders; if it should be, run UPDATE=1 hack/check-charts")


def check_definitions(tools):
    """The chart's copies are the generated manifests, and what it renders differs only where it must."""
    copies = CHARTS / "smilax-crds" / "files"
    generated = {path.name: path.read_text() for path in sorted(MANIFESTS.glob("*.yaml"))}
    if not generated:
        problem("crds/manifests is empty")
        return []
    if UPDATE:
        for path in copies.glob("*.yaml"):
            path.unlink()
        for name, text in generated.items():
            (copies / name).write_text(text)
        golden(copies / "kustomization.yml", kustomization(generated))
    copied = {path.name: path.read_text() for path in sorted(copies.glob("*.yaml"))}
    if copied != generated:
        problem("charts/smilax-crds/files is not a copy of crds/manifests; run UPDATE=1 hack/check-charts")
    golden(copies / "kustomization.yml", kustomization(generated))
    text = render(tools, "smilax-crds", "--set", "operatorNamespace=elsewhere")
    wanted = {d["metadata"]["name"]: d for d in (yaml.safe_load(text) for text in generated.values())}
    rendered = {d["metadata"]["name"]: d for d in documents(text) if d["kind"] == "CustomResourceDefinition"}
    if set(wanted) != set(rendered):
        problem(f"smilax-crds renders {sorted(rendered)}, not {sorted(wanted)}")
    for name, definition in rendered.items():
        if definition["metadata"]["annotations"].get("helm.sh/resource-policy") != "keep":
            problem(f"{name} would be deleted with the release, and all objects with it")
        conversion = definition["spec"].get("conversion", {}).get("webhook")
        if conversion and conversion["clientConfig"]["service"]["namespace"] != "elsewhere":
            problem(f"{name}: operatorNamespace does not reach the conversion webhook")
        if conversion and "caBundle" in conversion["clientConfig"]:
            problem(f"{name}: a caBundle, which an upgrade would write over the operator's")
        if without_namespace(definition) != without_namespace(wanted.get(name, {})):
            problem(f"{name}: rendered spec differs from crds/manifests")
    passed(f"{len(rendered)} definitions")
    return list(rendered.values())


def without_namespace(definition):
    """Its spec, but for the one field that the chart sets."""
    spec = copy.deepcopy(definition.get("spec", {}))
    client = spec.get("conversion", {}).get("webhook", {}).get("clientConfig", {})
    client.get("service", {}).pop("namespace", None)
    return spec


def kustomization(names):
    """Makes the folder of definitions a base of config/default."""
    lines = "".join(f"  - {name}\n" for name in sorted(names))
    return (
        "# Generated by hack/check-charts; a base of config/default. Not a .yaml, so that the chart does not take it\n"
        "# for a definition.\n"
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n" + lines
    )


# Values, and what the notes of an upgrade with them must and must not hold.
NOTES = [
    ([], ["access mode: allow\n", "TLS mode:    permissive\n", "access.closed is false", "this upgrade has opened it"], []),
    (["--set", "access.closed=true"], ["access mode: deny\n", "TLS mode:    strict\n"], ["The mesh is open"]),
    (["--set", "access.mode=deny"], ["access mode: deny\n", "The mesh is open", "in plaintext"], ["accept every call"]),
    (["--set", "access.mode=audit"], ["access mode: audit\n", "counted and logged"], ["accept every call"]),
    (
        ["--set", "access.closed=true,meshConfig.spec.accessMode=allow"],
        ["access mode: allow (MeshConfig default)\n", "The mesh is open", "accept every call"],
        ["in plaintext"],
    ),
]


def check_notes(tools):
    """Who may call whom is said at every upgrade: one without the values of the last one can open a closed mesh."""
    for arguments, present, absent in NOTES:
        text = notes(tools, "smilax", *arguments)
        for line in present:
            if line not in text:
                problem(f"NOTES.txt with {arguments} does not say {line!r}:\n{text}")
        for line in absent:
            if line in text:
                problem(f"NOTES.txt with {arguments} says {line!r}")
    passed(f"{len(NOTES)} notes")


def check_combinations(tools, definitions):
    """Renders each, compares it with its golden file, and applies the rules."""
    rendered = {}
    for name, arguments in COMBINATIONS.items():
        text = render(tools, "smilax", *arguments)
        golden(GOLDEN / f"{name}.yaml", text)
        rendered[name] = text
        objects = documents(text)
        seen = [(d["kind"], d["metadata"]["name"], d["metadata"].get("namespace")) for d in objects]
        for double in {entry for entry in seen if seen.count(entry) > 1}:
            problem(f"{name}: twice: {double}")
        if name not in {"uninstall-hook", "helm-test"}:
            for violation in rules.nothing_is_for_helm_alone(objects):
                problem(f"{name}: {violation}")
        for rule in rules.RULES:
            for violation in rule(objects):
                problem(f"{name}: {rule.__name__}: {violation}")
        if definitions:
            for violation in rules.every_kind_is_validated_and_permitted(objects, definitions):
                problem(f"{name}: {violation}")
    for violation in broken.unnoticed(documents(rendered["alerts"]), definitions):
        problem(violation)
    for path in GOLDEN.glob("*.yaml"):
        if path.stem not in COMBINATIONS:
            problem(f"{path.relative_to(ROOT)} belongs to no combination of values")
    passed(f"{len(rendered)} combinations of values, {len(rules.RULES) + 1} rules")
    return rendered


def check_refusals(tools):
    """Typos and impossible values are refused by name."""
    def answer(*arguments):
        return subprocess.run(
            [Path(tools) / "helm", "template", "smilax", SMILAX, "--namespace", NAMESPACE, *arguments],
            capture_output=True, text=True, check=False,
        )

    for value, said in REFUSED.items():
        done = answer("--kube-version", KUBERNETES, "--set", value)
        if done.returncode == 0:
            problem(f"--set {value} is accepted")
        elif said not in done.stderr:
            problem(f"--set {value}: the error does not name {said}: {done.stderr.strip()}")
    done = answer("--kube-version", "1.28.0")
    if done.returncode == 0 or "kubeVersion" not in done.stderr:
        problem("Kubernetes 1.28 is accepted, which has no native sidecars")
    passed(f"{len(REFUSED) + 1} refusals")


def check_schemas(objects, definitions):
    """Every object of Kubernetes' own kinds, strictly, against its schema; those of ours against their definitions."""
    warnings.simplefilter("ignore")
    schemas = {
        (f"{definition['spec']['group']}/{version['name']}", definition["spec"]["names"]["kind"]):
            version["schema"]["openAPIV3Schema"]
        for definition in definitions
        for version in definition["spec"]["versions"]
    }
    count = 0
    for source, document in objects:
        if document["apiVersion"].startswith("monitoring.coreos.com/"):
            continue
        count += 1
        schema = schemas.get((document["apiVersion"], document["kind"]))
        if schema:
            for error in jsonschema.Draft202012Validator(strict(schema)).iter_errors(document.get("spec", {})):
                problem(f"{source}: {name_of(document)}: {error.json_path}: {error.message}")
            continue
        try:
            kubernetes_validate.validate(document, KUBERNETES.rsplit(".", 1)[0], strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            message = getattr(error, "message", str(error))
            problem(f"{source}: {name_of(document)}: {message}")
    passed(f"{count} objects against the schemas of Kubernetes {KUBERNETES}")


def strict(schema):
    """The schema of a definition's spec, in which a field that it does not know is an error, as `kubectl apply` has it."""
    def closed(node):
        if isinstance(node, list):
            return [closed(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        node = {key: closed(value) for key, value in node.items()}
        if "properties" in node and "additionalProperties" not in node:
            node["additionalProperties"] = False
        return node

    return closed(schema["properties"]["spec"])


def check_security(tools, texts):
    """checkov, with the exceptions of hack/checkov.yaml."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            (Path(folder) / f"{name}.yaml").write_text(text)
        done = subprocess.run(
            [Path(tools) / "checkov", "--config-file", ROOT / "hack" / "checkov.yaml", "--skip-download",
             "--directory", folder],
            capture_output=True, text=True, check=False,
            env={**os.environ, "LOG_LEVEL": "ERROR", "ANSI_COLORS_DISABLED": "1"},
        )
    if done.returncode != 0:
        print(done.stdout, done.stderr)
        problem("checkov has findings")
    else:
        passed("checkov")


def check_config(tools):
    """config/default is what the charts render."""
    for path, text in render_config.rendered(tools).items():
        golden(path, text)
    passed("config/default")


def check_homes():
    """The charts name the home and the sources that Cargo.toml names."""
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    for path in sorted(CHARTS.glob("*/Chart.yaml")):
        chart = yaml.safe_load(path.read_text())
        if (chart["home"], chart["sources"]) != (package["homepage"], [package["repository"]]):
            problem(f"{path.relative_to(ROOT)}: home and sources are not homepage and repository of Cargo.toml")
    passed("home and sources of the charts")


def check_readmes(tools):
    """The charts' READMEs are made of their values and the comments there."""
    for path in sorted(CHARTS.glob("*/README.md.gotmpl")):
        chart = path.parent
        done = subprocess.run(
            [Path(tools) / "helm-docs", "--chart-search-root", chart, "--template-files", path.name, "--dry-run",
             "--sort-values-order", "file"],
            capture_output=True, text=True, check=False,
        )
        if done.returncode != 0:
            problem(f"helm-docs: {chart.name}: {done.stderr.strip()}")
        else:
            golden(chart / "README.md", done.stdout.strip() + "\n")
        told = {line.split("|")[1].strip().split(".")[0] for line in done.stdout.splitlines() if line.startswith("|")}
        for line in done.stdout.splitlines():
            if line.startswith("|") and line.endswith("|  |"):
                problem(f"{chart.name}: no comment in values.yaml tells of {line.split('|')[1].strip()}")
        untold = set(yaml.safe_load((chart / "values.yaml").read_text())) - told
        if untold:
            problem(f"{chart.name}: no comment in values.yaml tells of {', '.join(sorted(untold))}")
    passed("READMEs of the charts")


def main():
    tools = sys.argv[1]
    check_readmes(tools)
    check_homes()
    definitions = check_definitions(tools)
    check_notes(tools)
    rendered = check_combinations(tools, definitions)
    check_refusals(tools)
    check_config(tools)
    samples = {
        path.stem: path.read_text()
        for path in sorted((ROOT / "config" / "samples").glob("*.yaml"))
        if path.stem != "kustomization"
    }
    objects = [(f"charts/golden/{name}.yaml", one) for name, text in rendered.items() for one in documents(text)]
    objects += [("smilax-crds", one) for one in definitions]
    objects += [
        (f"config/samples/{name}.yaml", one)
        for name, text in samples.items()
        for one in documents(text)
    ]
    check_schemas(objects, definitions)
    check_security(tools, rendered)
    if problems:
        sys.exit(f"{len(problems)} problems")


if __name__ == "__main__":
    main()
