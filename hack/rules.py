"""Rules about rendered charts that general tools do not know. Each yields one line for each violation."""

import alerts
from charts import NAMESPACE, name_of

SYSTEM_NAMESPACES = {"kube-system", "kube-public", "kube-node-lease"}
ESCALATING = {"escalate", "bind", "impersonate"}
CLUSTER_SCOPED = {
    "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition",
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MeshConfig",
}
# What these resources may be written only by name.
NAMED_ONLY = {
    "secrets", "leases", "customresourcedefinitions", "customresourcedefinitions/status",
    "mutatingwebhookconfigurations", "validatingwebhookconfigurations",
}
WRITING = {"update", "patch", "delete", "deletecollection"}


def all_of(kind, documents):
    return [document for document in documents if document["kind"] == kind]


def pod_specs(documents):
    for document in documents:
        if document["kind"] in {"Deployment", "Job"}:
            yield name_of(document), document["spec"]["template"]["spec"]


def nothing_is_for_helm_alone(documents):
    """`helm template | kubectl apply` must not run what Helm runs only when it removes a release."""
    for document in documents:
        if "helm.sh/hook" in document["metadata"].get("annotations", {}):
            yield f"{name_of(document)}: a hook, which kubectl would apply at once"


def roles_name_every_verb_and_resource(documents):
    for role in all_of("ClusterRole", documents) + all_of("Role", documents):
        for rule in role["rules"]:
            for field in ("verbs", "resources", "apiGroups", "resourceNames", "nonResourceURLs"):
                if any("*" in entry for entry in rule.get(field, [])):
                    yield f"{name_of(role)}: a wildcard in {field}: {rule}"
            for verb in ESCALATING & set(rule["verbs"]):
                yield f"{name_of(role)}: verb {verb}: {rule}"


def sensitive_things_are_written_by_name(documents):
    for role in all_of("ClusterRole", documents) + all_of("Role", documents):
        for rule in role["rules"]:
            if rule.get("resourceNames"):
                continue
            if NAMED_ONLY & set(rule["resources"]) and WRITING & set(rule["verbs"]):
                yield f"{name_of(role)}: writes without resourceNames: {rule}"
            if "secrets" in rule["resources"] and set(rule["verbs"]) != {"create"}:
                yield f"{name_of(role)}: reads any Secret: {rule}"


def secrets_are_only_in_the_own_namespace(documents):
    for role in all_of("ClusterRole", documents):
        for rule in role["rules"]:
            if "secrets" in rule["resources"]:
                yield f"{name_of(role)}: Secrets of the whole cluster: {rule}"


def pods_meet_the_restricted_standard(documents):
    for name, spec in pod_specs(documents):
        pod = spec.get("securityContext", {})
        if pod.get("runAsNonRoot") is not True or pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: runAsNonRoot and seccompProfile RuntimeDefault are missing"
        for flag in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(flag):
                yield f"{name}: {flag}"
        for container in spec.get("initContainers", []) + spec["containers"]:
            security = container.get("securityContext", {})
            if security.get("allowPrivilegeEscalation") is not False:
                yield f"{name}/{container['name']}: allowPrivilegeEscalation is not false"
            if security.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name}/{container['name']}: capabilities are not dropped"
            if security.get("readOnlyRootFilesystem") is not True:
                yield f"{name}/{container['name']}: the root file system is writable"
            resources = container.get("resources", {})
            for what in ("requests", "limits"):
                if not {"cpu", "memory"} <= set(resources.get(what, {})):
                    yield f"{name}/{container['name']}: no {what} of cpu and memory"
            image = container["image"]
            if "@sha256:" not in image and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")):
                yield f"{name}/{container['name']}: image {image} has no version"


def namespaced_objects_name_their_namespace(documents):
    for document in documents:
        if document["kind"] not in CLUSTER_SCOPED and document["metadata"].get("namespace") != NAMESPACE:
            yield f"{name_of(document)}: not in the release's namespace"


def webhooks_leave_system_namespaces_alone(documents):
    configurations = all_of("MutatingWebhookConfiguration", documents) + all_of("ValidatingWebhookConfiguration", documents)
    for configuration in configurations:
        for webhook in configuration["webhooks"]:
            if webhook["failurePolicy"] == "Ignore" and configuration["kind"] == "ValidatingWebhookConfiguration":
                continue
            excluded = {
                value
                for expression in webhook.get("namespaceSelector", {}).get("matchExpressions", [])
                if expression["key"] == "kubernetes.io/metadata.name" and expression["operator"] == "NotIn"
                for value in expression["values"]
            }
            for namespace in sorted((SYSTEM_NAMESPACES | {NAMESPACE}) - excluded):
                yield f"{webhook['name']}: namespace {namespace} is not excluded"


def webhooks_answer_fast_and_have_no_side_effects(documents):
    for configuration in (
        all_of("MutatingWebhookConfiguration", documents) + all_of("ValidatingWebhookConfiguration", documents)
    ):
        for webhook in configuration["webhooks"]:
            if webhook["sideEffects"] != "None" or webhook["matchPolicy"] != "Equivalent":
                yield f"{webhook['name']}: sideEffects None and matchPolicy Equivalent are missing"
            if "caBundle" in webhook["clientConfig"]:
                yield f"{webhook['name']}: a caBundle, which an upgrade would write over the operator's"
            if any("*" in entry for rule in webhook["rules"] for field in rule.values() for entry in field):
                yield f"{webhook['name']}: a wildcard in the rules"


def validation_never_blocks(documents):
    for configuration in all_of("ValidatingWebhookConfiguration", documents):
        for webhook in configuration["webhooks"]:
            # Changes of pods that are dangerous for their sidecars follow the injector: nothing else judges them.
            if webhook["failurePolicy"] != "Ignore" and not judges_pods(webhook):
                yield f"{webhook['name']}: failurePolicy {webhook['failurePolicy']}"


def judges_pods(webhook):
    return {resource for rule in webhook["rules"] for resource in rule["resources"]} == {"pods", "pods/ephemeralcontainers"}


def pods_are_judged_by_the_injectors_policy_and_only_where_it_concerns_the_sidecar(documents):
    injecting = {
        webhook["failurePolicy"]
        for configuration in all_of("MutatingWebhookConfiguration", documents)
        for webhook in configuration["webhooks"]
    }
    judging = [
        webhook
        for configuration in all_of("ValidatingWebhookConfiguration", documents)
        for webhook in configuration["webhooks"]
        if judges_pods(webhook)
    ]
    if len(judging) != 1:
        yield f"{len(judging)} webhooks judge changes of pods"
    for webhook in judging:
        if {webhook["failurePolicy"]} != injecting:
            yield f"{webhook['name']}: failurePolicy {webhook['failurePolicy']}, not the injector's"
        if len(webhook.get("matchConditions", [])) != 2:
            yield f"{webhook['name']}: every change of every pod would wait for the operator"


def the_operators_account_is_held_to_its_own_objects(documents):
    wanted = f'request.userInfo.username == "system:serviceaccount:{NAMESPACE}:smilax-operator"'
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in all_of("ValidatingAdmissionPolicy", documents)}
    bound = {
        binding["spec"]["policyName"]
        for binding in all_of("ValidatingAdmissionPolicyBinding", documents)
        if binding["spec"]["validationActions"] == ["Deny"] and "matchResources" not in binding["spec"]
    }
    for name, policy in policies.items():
        if name not in bound:
            yield f"{name}: no binding that denies everywhere"
        if not name.startswith("smilax-operator-"):
            continue
        if policy["failurePolicy"] != "Fail":
            yield f"{name}: failurePolicy {policy['failurePolicy']}"
        conditions = [condition["expression"] for condition in policy["matchConditions"]]
        if conditions != [wanted]:
            yield f"{name}: {conditions} is not about the operator's account alone"


def no_pod_waits_for_the_policy_about_tokens(documents):
    for policy in all_of("ValidatingAdmissionPolicy", documents):
        if policy["metadata"]["name"] == "smilax-pods" and policy["spec"]["failurePolicy"] != "Ignore":
            yield "smilax-pods: every pod of the cluster is asked about, so a mistake in it would refuse them all"


def webhooks_lead_to_a_service_that_leads_to_the_operator(documents):
    deployment = all_of("Deployment", documents)[0]["spec"]["template"]
    ports = {port["name"] for container in deployment["spec"]["containers"] for port in container["ports"]}
    services = {service["metadata"]["name"]: service for service in all_of("Service", documents)}
    for service in services.values():
        if not service["spec"]["selector"].items() <= deployment["metadata"]["labels"].items():
            yield f"{name_of(service)}: selects no pod of the Deployment"
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"{name_of(service)}: no container port {port['targetPort']}"
    for configuration in (
        all_of("MutatingWebhookConfiguration", documents) + all_of("ValidatingWebhookConfiguration", documents)
    ):
        for webhook in configuration["webhooks"]:
            target = webhook["clientConfig"]["service"]
            service = services.get(target["name"])
            if not service or target["port"] not in [port["port"] for port in service["spec"]["ports"]]:
                yield f"{webhook['name']}: no Service {target['name']} with port {target['port']}"
    if "smilax-conversion" not in services:
        yield "no Service smilax-conversion, which the definitions name"


def no_rollout_waits_for_a_node_that_an_earlier_revision_keeps(documents):
    """Pods of an earlier revision may have had hard anti-affinity: where each node has one, none of them but a stopping one lets a new pod in."""
    for deployment in all_of("Deployment", documents):
        spec = deployment["spec"]
        affinity = spec["template"]["spec"].get("affinity", {}).get("podAntiAffinity", {})
        if spec["replicas"] > 1 and spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0:
            yield f"{name_of(deployment)}: no replica makes room for a new one"
        if spec["replicas"] == 1 and "requiredDuringSchedulingIgnoredDuringExecution" in affinity:
            yield f"{name_of(deployment)}: the only replica would keep its successor from the only node"


def accounts_exist(documents):
    accounts = {account["metadata"]["name"] for account in all_of("ServiceAccount", documents)}
    for name, spec in pod_specs(documents):
        if spec["serviceAccountName"] not in accounts:
            yield f"{name}: no ServiceAccount {spec['serviceAccountName']}"
    for binding in all_of("ClusterRoleBinding", documents) + all_of("RoleBinding", documents):
        for subject in binding["subjects"]:
            if subject["name"] not in accounts:
                yield f"{name_of(binding)}: no ServiceAccount {subject['name']}"


def every_kind_is_validated_and_permitted(documents, definitions):
    """The chart's lists of kinds and versions are those of the definitions."""
    served = {
        (definition["spec"]["group"], definition["spec"]["names"]["plural"], version["name"])
        for definition in definitions
        for version in definition["spec"]["versions"]
        if version["served"]
    }
    validated = {
        (group, resource, version)
        for configuration in all_of("ValidatingWebhookConfiguration", documents)
        for webhook in configuration["webhooks"]
        for rule in webhook["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for version in rule["apiVersions"]
        if group not in {"", "apps", "batch"}
    }
    for entry in sorted(served - validated):
        yield f"smilax-validate does not list {entry}"
    for entry in sorted(validated - served):
        yield f"smilax-validate lists {entry}, which is not served"
    permitted = {
        (group, resource)
        for role in all_of("ClusterRole", documents)
        if role["metadata"]["name"] == "smilax-operator"
        for rule in role["rules"]
        if "watch" in rule["verbs"] or "/" in "".join(rule["resources"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    for group, resource, _ in sorted(served):
        for wanted in (resource, f"{resource}/status"):
            if (group, wanted) not in permitted:
                yield f"the operator may not use {wanted}.{group}"


RULES = [
    roles_name_every_verb_and_resource,
    sensitive_things_are_written_by_name,
    secrets_are_only_in_the_own_namespace,
    pods_meet_the_restricted_standard,
    namespaced_objects_name_their_namespace,
    webhooks_leave_system_namespaces_alone,
    webhooks_answer_fast_and_have_no_side_effects,
    validation_never_blocks,
    pods_are_judged_by_the_injectors_policy_and_only_where_it_concerns_the_sidecar,
    the_operators_account_is_held_to_its_own_objects,
    no_pod_waits_for_the_policy_about_tokens,
    webhooks_lead_to_a_service_that_leads_to_the_operator,
    no_rollout_waits_for_a_node_that_an_earlier_revision_keeps,
    accounts_exist,
    alerts.alerts_ask_for_metrics_that_there_are,
    alerts.alerts_say_what_to_do,
]
