use proptest::prelude::*;

use super::*;

#[test]
fn the_id_of_a_workload_reads_back_as_that_workload() {
    let workload = Workload::new("shop", "web");
    let id = SpiffeId::of(&TrustDomain::default(), &workload);
    assert_eq!(id.as_str(), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(id.as_str().parse::<SpiffeId>().unwrap(), id);
    assert_eq!(id.workload(), Some(workload));
    assert_eq!(id.trust_domain(), TrustDomain::default());
}

#[test]
fn ids_of_another_form_name_no_workload_of_ours() {
    for other in [
        "spiffe://td",
        "spiffe://td/ns/shop",
        "spiffe://td/ns/shop/sa/web/x",
        "spiffe://td/sa/web/ns/shop",
        "spiffe://td/NS/shop/SA/web",
    ] {
        let id: SpiffeId = other.parse().unwrap();
        assert_eq!(id.workload(), None, "{other}");
    }
}

#[test]
fn text_that_could_be_read_as_another_id_is_none() {
    for bad in [
        "",
        "cluster.local/ns/a/sa/b",
        "SPIFFE://cluster.local/ns/a/sa/b",
        "spiffe://Cluster.local/ns/a/sa/b",
        "spiffe:///ns/a/sa/b",
        "spiffe://cluster.local/ns/a/sa/b/",
        "spiffe://cluster.local//ns/a/sa/b",
        "spiffe://cluster.local/ns/../sa/b",
        "spiffe://cluster.local/ns/%61/sa/b",
        "spiffe://cluster.local/ns/a/sa/b\0",
        "spiffe://cluster.local:443/ns/a/sa/b",
        "spiffe://user@cluster.local/ns/a/sa/b",
        "spiffe://cluster.local/ns/a/sa/b?x",
        "spiffe://cluster.local/ns/a/sa/b#x",
        " spiffe://cluster.local/ns/a/sa/b",
    ] {
        assert!(bad.parse::<SpiffeId>().is_err(), "{bad:?}");
    }
}

#[test]
fn the_trust_domain_is_the_first_part_of_an_id() {
    let id: SpiffeId = "spiffe://mesh.example/ns/a/sa/b".parse().unwrap();
    assert_eq!(id.trust_domain().as_str(), "mesh.example");
    assert_ne!(id.trust_domain(), TrustDomain::default());
}

#[test]
fn ids_and_trust_domains_may_be_as_long_as_spiffe_says_and_no_longer() {
    let id = |length: usize| format!("spiffe://td/{}", "a".repeat(length - "spiffe://td/".len()));
    assert!(id(2048).parse::<SpiffeId>().is_ok());
    assert_eq!(id(2049).parse::<SpiffeId>(), Err(InvalidId::TooLong));
    assert!("a".repeat(255).parse::<TrustDomain>().is_ok());
    assert_eq!(
        "a".repeat(256).parse::<TrustDomain>(),
        Err(InvalidId::TrustDomain)
    );
}

proptest! {
    #[test]
    fn an_id_that_parses_prints_as_it_was_written(text in "spiffe://[a-z.]{1,9}(/[a-zA-Z0-9._-]{1,9}){0,5}") {
        if let Ok(id) = text.parse::<SpiffeId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = text.parse::<SpiffeId>();
        let _ = format!("spiffe://{text}").parse::<SpiffeId>().map(|id| (id.workload(), id.trust_domain()));
    }
}
