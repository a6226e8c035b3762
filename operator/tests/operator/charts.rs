//! What an installation gives the operator, and whom its webhooks can hold up: the rendered charts, as charts/golden
//! keeps them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

/// Objects of every combination of values, with the name of the combination.
static COMBINATIONS: LazyLock<Vec<(String, Vec<Value>)>> = LazyLock::new(rendered);

fn rendered() -> Vec<(String, Vec<Value>)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/golden");
    let mut found: Vec<(String, Vec<Value>)> = std::fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let objects = text
                .split("---\n")
                .filter(|document| document.lines().any(|line| line.starts_with("kind:")))
                .map(|document| serde_saphyr::from_str(document).unwrap())
                .collect();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), objects)
        })
        .collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(found.len() >= 9, "charts/golden is not complete");
    found
}

fn all<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn list<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    let entries = value[field].as_array().into_iter().flatten();
    entries.filter_map(Value::as_str).collect()
}

fn rules<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all(objects, kind)
        .into_iter()
        .flat_map(|role| role["rules"].as_array().unwrap())
        .collect()
}

fn webhooks<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all(objects, kind)
        .into_iter()
        .flat_map(|configuration| configuration["webhooks"].as_array().unwrap())
        .collect()
}

#[test]
fn f14_the_operators_token_opens_no_secret_but_its_own_and_no_way_up() {
    for (name, objects) in COMBINATIONS.iter() {
        for rule in rules(objects, "ClusterRole") {
            let (resources, verbs) = (list(rule, "resources"), list(rule, "verbs"));
            for forbidden in [
                "secrets",
                "nodes/proxy",
                "pods/exec",
                "pods/attach",
                "serviceaccounts/token",
            ] {
                assert!(!resources.contains(&forbidden), "{name}: {rule}");
            }
            for forbidden in ["*", "escalate", "bind", "impersonate"] {
                assert!(!verbs.contains(&forbidden), "{name}: {rule}");
            }
            assert!(!resources.contains(&"*"), "{name}: {rule}");
            let writes = verbs.iter().any(|verb| !["get", "list", "watch"].contains(verb));
            // Their zones are read; nothing of them is written.
            assert!(!(writes && resources.contains(&"nodes")), "{name}: {rule}");
            let of_webhooks = resources
                .iter()
                .any(|resource| resource.contains("webhookconfigurations"));
            if of_webhooks && writes {
                assert!(!list(rule, "resourceNames").is_empty(), "{name}: {rule}");
            }
        }
        let mut secrets = 0;
        for rule in rules(objects, "Role") {
            if list(rule, "resources").contains(&"secrets") {
                secrets += 1;
                // Creating cannot be limited to a name.
                let named = !list(rule, "resourceNames").is_empty();
                assert!(named || list(rule, "verbs") == ["create"], "{name}: {rule}");
            }
        }
        assert!(secrets > 0, "{name}: the operator has no Secret of its own");
    }
}

#[test]
fn f14_the_api_server_confirms_it() {
    let told = include_str!("../../../charts/golden/can-i.txt");
    let (_, elsewhere) = told.split_once("## In every other namespace").unwrap();
    for line in elsewhere.lines() {
        assert!(!line.starts_with("secrets"), "{line}");
    }
    for line in told.lines().filter(|line| !line.starts_with('#')) {
        for forbidden in ["*", "escalate", "impersonate", "nodes/proxy", "pods/exec"] {
            assert!(!line.contains(forbidden), "{line}");
        }
        // With names, or nothing but to create.
        if line.starts_with("secrets") {
            assert!(line.contains("[smilax-") || line.contains("[create]"), "{line}");
        }
    }
}

#[test]
fn f3_a_webhook_that_is_down_never_holds_up_system_namespaces_nor_the_installations_own() {
    for (name, objects) in COMBINATIONS.iter() {
        let of_pods = webhooks(objects, "ValidatingWebhookConfiguration")
            .into_iter()
            .filter(|webhook| webhook["name"] == "pods.validate.smilax.dev");
        let of_pods: Vec<&Value> = webhooks(objects, "MutatingWebhookConfiguration")
            .into_iter()
            .chain(of_pods)
            .collect();
        assert_eq!(of_pods.len(), 3);
        for webhook in of_pods {
            let expressions = webhook["namespaceSelector"]["matchExpressions"]
                .as_array()
                .unwrap();
            let excluded: BTreeSet<&str> = expressions
                .iter()
                .filter(|one| one["key"] == "kubernetes.io/metadata.name" && one["operator"] == "NotIn")
                .flat_map(|one| list(one, "values"))
                .collect();
            for system in ["kube-system", "kube-public", "kube-node-lease", "smilax-system"] {
                assert!(
                    excluded.contains(system),
                    "{name}: {} holds up {system}",
                    webhook["name"]
                );
            }
        }
        for webhook in webhooks(objects, "ValidatingWebhookConfiguration") {
            let judges_pods = webhook["name"] == "pods.validate.smilax.dev";
            assert!(
                judges_pods || webhook["failurePolicy"] == "Ignore",
                "{name}: {}",
                webhook["name"]
            );
        }
    }
}

#[test]
fn f3_pods_wait_for_a_webhook_that_is_down_unless_there_is_one_replica_only() {
    for (name, objects) in COMBINATIONS.iter() {
        let expected = if name == "one-replica" { "Ignore" } else { "Fail" };
        let changed = webhooks(objects, "ValidatingWebhookConfiguration")
            .into_iter()
            .filter(|webhook| webhook["name"] == "pods.validate.smilax.dev");
        for webhook in webhooks(objects, "MutatingWebhookConfiguration")
            .into_iter()
            .chain(changed)
        {
            assert_eq!(webhook["failurePolicy"], expected, "{name}: {}", webhook["name"]);
            assert!(webhook["timeoutSeconds"].as_u64().unwrap() <= 10, "{name}");
        }
    }
}

#[test]
fn f2_a_network_policy_names_every_port_of_the_operator_and_refuses_the_rest() {
    for (name, objects) in COMBINATIONS.iter() {
        let policies = all(objects, "NetworkPolicy");
        if name == "no-network-policy" {
            assert!(policies.is_empty());
            continue;
        }
        let policy = policies
            .iter()
            .find(|policy| policy["metadata"]["name"] == "smilax-operator")
            .unwrap();
        assert_eq!(
            list(&policy["spec"], "policyTypes"),
            ["Ingress", "Egress"],
            "{name}"
        );
        let mut opened = BTreeSet::new();
        for rule in policy["spec"]["ingress"].as_array().unwrap() {
            let ports = rule["ports"].as_array();
            for port in ports.unwrap_or_else(|| panic!("{name}: a rule for every port")) {
                let number = port["port"].as_u64().unwrap();
                opened.insert(number);
                // Metrics and workloads come from pods, which a policy can select; API servers are not pods.
                assert!(
                    number == 8443 || rule["from"].is_array(),
                    "{name}: {number} is open to all"
                );
            }
        }
        let served: BTreeSet<u64> = all(objects, "Deployment")
            .iter()
            .flat_map(|deployment| {
                deployment["spec"]["template"]["spec"]["containers"]
                    .as_array()
                    .unwrap()
            })
            .flat_map(|container| container["ports"].as_array().unwrap())
            .map(|port| port["containerPort"].as_u64().unwrap())
            .collect();
        assert_eq!(opened, served, "{name}");
    }
}

#[test]
fn e7_the_api_server_asks_about_every_pod_of_a_namespace_that_joined_also_one_that_says_no() {
    for (name, objects) in COMBINATIONS.iter() {
        let all = webhooks(objects, "MutatingWebhookConfiguration");
        let joined = all
            .iter()
            .find(|webhook| webhook["name"] == "namespaces.inject.smilax.dev");
        let selector = &joined.unwrap()["objectSelector"];
        assert!(
            selector.is_null(),
            "{name}: a pod may keep itself out by {selector}"
        );
    }
}

/// Policies about the operator's account, and their bindings.
fn about_the_operator<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let is_about_it = |object: &Value| {
        let name = object["metadata"]["name"].as_str();
        name.is_some_and(|name| name.starts_with("smilax-operator-"))
    };
    let all = all(objects, kind).into_iter();
    all.filter(|object| is_about_it(object)).collect()
}

#[test]
fn s12_pods_everywhere_are_asked_for_tokens_of_the_mesh_where_the_api_server_has_policies() {
    for (name, objects) in COMBINATIONS.iter() {
        let found = all(objects, "ValidatingAdmissionPolicy")
            .into_iter()
            .find(|policy| policy["metadata"]["name"] == "smilax-pods");
        assert_eq!(found.is_some(), name != "kubernetes-1-29", "{name}");
        let Some(policy) = found else { continue };
        // Every pod of the cluster is asked about: who may not be held up is not.
        assert_eq!(policy["spec"]["failurePolicy"], "Ignore", "{name}");
        assert!(
            policy["spec"]["matchConstraints"]["objectSelector"].is_null(),
            "{name}"
        );
    }
}

#[test]
fn f18_a_digest_of_an_image_wins_over_its_tag() {
    let (_, objects) = COMBINATIONS
        .iter()
        .find(|(name, _)| name == "own-registry")
        .unwrap();
    let deployment = all(objects, "Deployment")[0];
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str().unwrap();
    assert!(
        image.contains("@sha256:") && !image.contains("0.1.0-rc.1"),
        "{image}"
    );
    let proxy = list(container, "args")
        .into_iter()
        .find(|argument| argument.starts_with("--proxy-image="))
        .unwrap();
    assert!(proxy.contains("@sha256:") && !proxy.contains(":0.1.0"), "{proxy}");
}

#[test]
fn s10_the_operators_account_is_held_to_its_own_objects_where_the_api_server_has_policies() {
    for (name, objects) in COMBINATIONS.iter() {
        let policies = about_the_operator(objects, "ValidatingAdmissionPolicy");
        let bindings = about_the_operator(objects, "ValidatingAdmissionPolicyBinding");
        let expected = if name == "kubernetes-1-29" { 0 } else { 3 };
        assert_eq!((policies.len(), bindings.len()), (expected, expected), "{name}");
        for policy in policies {
            assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{name}");
            let account = "system:serviceaccount:smilax-system:smilax-operator";
            let condition = policy["spec"]["matchConditions"][0]["expression"].as_str();
            assert_eq!(
                condition,
                Some(format!("request.userInfo.username == \"{account}\"").as_str())
            );
        }
    }
}

#[test]
fn s10_what_the_operator_may_write_in_every_namespace_is_held_by_a_policy_or_harmless() {
    // Statuses are the operator's to write, Events tell, and reviews of tokens change nothing.
    const HARMLESS: [&str; 3] = ["events", "tokenreviews", "customresourcedefinitions/status"];
    for (name, objects) in COMBINATIONS.iter().filter(|(name, _)| name != "kubernetes-1-29") {
        let held: BTreeSet<&str> = about_the_operator(objects, "ValidatingAdmissionPolicy")
            .into_iter()
            .flat_map(|policy| {
                policy["spec"]["matchConstraints"]["resourceRules"]
                    .as_array()
                    .unwrap()
            })
            .flat_map(|rule| list(rule, "resources"))
            .collect();
        let role = all(objects, "ClusterRole")
            .into_iter()
            .find(|role| role["metadata"]["name"] == "smilax-operator")
            .unwrap();
        for rule in role["rules"].as_array().unwrap() {
            let verbs = list(rule, "verbs");
            if verbs.iter().all(|verb| ["get", "list", "watch"].contains(verb)) {
                continue;
            }
            for resource in list(rule, "resources") {
                // No policy is asked about webhook configurations, so their names are all that holds the account.
                let named =
                    resource.ends_with("webhookconfigurations") && !list(rule, "resourceNames").is_empty();
                let status = resource.ends_with("/status");
                assert!(
                    held.contains(resource) || HARMLESS.contains(&resource) || named || status,
                    "{name}: {resource} may be written"
                );
            }
        }
    }
}
