"""Proof that the rules can fail: each is given a chart that breaks it, and must say so."""

import copy

import alerts
import rules
from rules import all_of


def role(documents):
    return next(one for one in all_of("ClusterRole", documents) if one["metadata"]["name"] == "smilax-operator")


def container(documents):
    return all_of("Deployment", documents)[0]["spec"]["template"]["spec"]["containers"][0]


def webhook(kind, documents):
    return all_of(kind, documents)[0]["webhooks"][0]


def wildcard(documents):
    role(documents)["rules"][0]["verbs"] = ["*"]


def escalation(documents):
    role(documents)["rules"].append({"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]})


def unnamed_write(documents):
    rule = next(one for one in role(documents)["rules"] if one.get("resourceNames") == ["smilax-inject"])
    del rule["resourceNames"]


def every_secret(documents):
    role(documents)["rules"].append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})


def writable_root(documents):
    container(documents)["securityContext"]["readOnlyRootFilesystem"] = False


def no_limits(documents):
    del container(documents)["resources"]["limits"]["memory"]


def latest(documents):
    container(documents)["image"] = "localhost:5000/smilax-operator"


def astray(documents):
    all_of("Service", documents)[0]["metadata"]["namespace"] = "default"


def system_namespace(documents):
    expressions = webhook("MutatingWebhookConfiguration", documents)["namespaceSelector"]["matchExpressions"]
    expressions[-1]["values"].remove("kube-system")


def bundle(documents):
    webhook("MutatingWebhookConfiguration", documents)["clientConfig"]["caBundle"] = "LS0t"


def blocking(documents):
    webhook("ValidatingWebhookConfiguration", documents)["failurePolicy"] = "Fail"


def every_pod(documents):
    del webhook_of_pods(documents)["matchConditions"]


def pods_unseen(documents):
    webhook_of_pods(documents)["failurePolicy"] = "Ignore"


def webhook_of_pods(documents):
    return next(one for one in all_of("ValidatingWebhookConfiguration", documents)[0]["webhooks"] if rules.judges_pods(one))


def unbound(documents):
    all_of("ValidatingAdmissionPolicyBinding", documents)[0]["spec"]["validationActions"] = ["Warn"]


def policy_of_others(documents):
    policies = all_of("ValidatingAdmissionPolicy", documents)
    operators = [policy for policy in policies if policy["metadata"]["name"].startswith("smilax-operator-")]
    del operators[0]["spec"]["matchConditions"][0]


def waiting_pods(documents):
    policies = all_of("ValidatingAdmissionPolicy", documents)
    pods = [policy for policy in policies if policy["metadata"]["name"] == "smilax-pods"]
    pods[0]["spec"]["failurePolicy"] = "Fail"


def lost_port(documents):
    all_of("Service", documents)[0]["spec"]["ports"][0]["targetPort"] = "https"


def no_room(documents):
    all_of("Deployment", documents)[0]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = 0


def alone_with_hard_affinity(documents):
    spec = all_of("Deployment", documents)[0]["spec"]
    spec["replicas"] = 1
    spec["template"]["spec"]["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}


def lost_account(documents):
    all_of("Deployment", documents)[0]["spec"]["template"]["spec"]["serviceAccountName"] = "other"


def alert(documents):
    return next(alerts.alerts_of(documents))


def unknown_metric(documents):
    alert(documents)["expr"] = "smilax_operator_lead > 0"


def no_description(documents):
    del alert(documents)["annotations"]["description"]


BROKEN = [
    (wildcard, rules.roles_name_every_verb_and_resource),
    (escalation, rules.roles_name_every_verb_and_resource),
    (unnamed_write, rules.sensitive_things_are_written_by_name),
    (every_secret, rules.sensitive_things_are_written_by_name),
    (every_secret, rules.secrets_are_only_in_the_own_namespace),
    (writable_root, rules.pods_meet_the_restricted_standard),
    (no_limits, rules.pods_meet_the_restricted_standard),
    (latest, rules.pods_meet_the_restricted_standard),
    (astray, rules.namespaced_objects_name_their_namespace),
    (system_namespace, rules.webhooks_leave_system_namespaces_alone),
    (bundle, rules.webhooks_answer_fast_and_have_no_side_effects),
    (blocking, rules.validation_never_blocks),
    (every_pod, rules.pods_are_judged_by_the_injectors_policy_and_only_where_it_concerns_the_sidecar),
    (pods_unseen, rules.pods_are_judged_by_the_injectors_policy_and_only_where_it_concerns_the_sidecar),
    (unbound, rules.the_operators_account_is_held_to_its_own_objects),
    (policy_of_others, rules.the_operators_account_is_held_to_its_own_objects),
    (waiting_pods, rules.no_pod_waits_for_the_policy_about_tokens),
    (lost_port, rules.webhooks_lead_to_a_service_that_leads_to_the_operator),
    (no_room, rules.no_rollout_waits_for_a_node_that_an_earlier_revision_keeps),
    (alone_with_hard_affinity, rules.no_rollout_waits_for_a_node_that_an_earlier_revision_keeps),
    (lost_account, rules.accounts_exist),
    (unknown_metric, alerts.alerts_ask_for_metrics_that_there_are),
    (no_description, alerts.alerts_say_what_to_do),
]


def unnoticed(documents, definitions):
    """Names of breakages that no rule notices."""
    for breakage, rule in BROKEN:
        broken = copy.deepcopy(documents)
        breakage(broken)
        if not list(rule(broken)):
            yield f"{rule.__name__} does not notice {breakage.__name__}"
    for rule in rules.RULES:
        if rule not in [entry[1] for entry in BROKEN]:
            yield f"nothing proves that {rule.__name__} can fail"
    if definitions:
        more = copy.deepcopy(definitions)
        more[0]["spec"]["versions"].append({"name": "v9", "served": True})
        if not list(rules.every_kind_is_validated_and_permitted(documents, more)):
            yield "every_kind_is_validated_and_permitted does not notice a new version"
