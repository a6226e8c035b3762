//! What a tenant reads who may read the ConfigMaps of its namespace.

use super::*;

/// Two tenants: `shop`, which uses one Service of `billing`, and `billing`, which has more.
fn tenants() -> Index {
    Cluster::new()
        .namespace(
            "shop",
            &[(key::INJECT, "enabled"), ("owner", "marked-label")],
            &[("token", "marked-annotation")],
        )
        .account(
            "shop",
            "web",
            &[
                (key::DESTINATIONS, "billing/api"),
                ("kubernetes.io/note", "marked-account"),
            ],
        )
        .account("shop", "idle", &[])
        .service(service("web"))
        .namespace("billing", ENABLED, &[(key::DESTINATIONS, "vault/store")])
        .account("billing", "secretive", &[])
        .service(service("api").of("billing"))
        .service(service("ledger").of("billing"))
        .namespace("vault", ENABLED, &[])
        .service(service("store").of("vault"))
        .index()
}

fn written(index: &mut Index, account: &str) -> String {
    let (config, _) = compile(index, &Workload::new("shop", account));
    serde_json::to_string(&config).expect("serialises")
}

#[test]
fn f6_a_configuration_names_nothing_of_other_namespaces_but_what_its_account_may_call() {
    let mut index = tenants();
    let web = written(&mut index, "web");
    assert!(web.contains("billing/api"), "{web}");
    for foreign in ["ledger", "secretive", "vault", "store"] {
        assert!(!web.contains(foreign), "{foreign} in {web}");
    }
    let idle = written(&mut index, "idle");
    for foreign in ["billing", "vault"] {
        assert!(!idle.contains(foreign), "{foreign} in {idle}");
    }
}

#[test]
fn f6_a_configuration_holds_no_label_or_annotation_that_is_not_the_meshs() {
    let web = written(&mut tenants(), "web");
    assert!(!web.contains("marked"), "{web}");
}
