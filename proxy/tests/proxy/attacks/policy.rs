//! What somebody who may edit ConfigMaps puts in the place of a proxy's configuration.

use std::collections::BTreeSet;
use std::path::Path;

use smilax_core::config::Protocol;
use smilax_core::signature::Voucher;
use smilax_core::workload_connection::{KeyId, TrustBundle};
use smilax_core::{ProxyConfig, Revision};
use smilax_proxy::settings::ConfigLocation;
use tempfile::TempDir;

use crate::support::authority::Authority;
use crate::support::client::get;
use crate::support::{Net, TestProxy, eventually, split};

/// A mounted ConfigMap of account `shop/client`, as kubelet keeps it.
struct Mounted {
    directory: TempDir,
    versions: u64,
}

/// What it holds.
#[derive(Clone)]
struct Files {
    policy: Vec<u8>,
    bundle: Vec<u8>,
    signature: Vec<u8>,
}

impl Files {
    /// As the operator of this authority writes them.
    fn signed(authority: &Authority, config: &ProxyConfig, bundle: &TrustBundle) -> Self {
        Self::vouched(authority, config, bundle, vec![])
    }

    fn vouched(
        authority: &Authority,
        config: &ProxyConfig,
        bundle: &TrustBundle,
        vouchers: Vec<Voucher>,
    ) -> Self {
        let policy = serde_json::to_vec(config).unwrap();
        let bundle = serde_json::to_vec(bundle).unwrap();
        Self {
            signature: authority.sign_mount("shop/client", &policy, &bundle, vouchers),
            policy,
            bundle,
        }
    }
}

impl Mounted {
    fn new(files: &Files) -> Self {
        let mut mounted = Self {
            directory: tempfile::tempdir().unwrap(),
            versions: 0,
        };
        mounted.put(files);
        mounted
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn put(&mut self, files: &Files) {
        self.versions += 1;
        let version = format!("..{}", self.versions);
        let made = self.path().join(&version);
        std::fs::create_dir(&made).unwrap();
        for (name, content) in [
            ("policy.json", &files.policy),
            ("trust-bundle.json", &files.bundle),
            ("signature.json", &files.signature),
        ] {
            if !content.is_empty() {
                std::fs::write(made.join(name), content).unwrap();
            }
        }
        let link = self.path().join("..data_tmp");
        std::os::unix::fs::symlink(version, &link).unwrap();
        std::fs::rename(link, self.path().join("..data")).unwrap();
    }
}

/// A proxy of a pod whose spec names these roots.
fn proxy(net: Net, mounted: &Mounted, pinned: &[KeyId]) -> TestProxy {
    let (directory, anchors) = (mounted.path().to_owned(), pinned.to_vec());
    TestProxy::builder()
        .outbound(net.at(1))
        .set(|settings| {
            settings.config = ConfigLocation::Directory(directory);
            settings.anchors = BTreeSet::from_iter(anchors);
        })
        .start()
}

/// A proxy of a pod whose spec names this authority, with what an earlier one of the pod kept.
fn restarted(net: Net, mounted: &Mounted, ours: &Authority, state: &Path) -> TestProxy {
    let (directory, state) = (mounted.path().to_owned(), state.to_owned());
    let (root, domain) = (ours.root_id(), ours.trust_domain());
    TestProxy::builder()
        .outbound(net.at(1))
        .set(|settings| {
            settings.config = ConfigLocation::Directory(directory);
            settings.state_directory = Some(state);
            settings.anchors = BTreeSet::from([root]);
            settings.trust_domain = Some(domain);
        })
        .start()
}

fn revision(proxy: &TestProxy) -> Revision {
    proxy.proxy().shared().table.load().revision
}

async fn status(proxy: &TestProxy) -> String {
    get(proxy.admin_address(), "/config/status").await.text
}

async fn roots(proxy: &TestProxy) -> String {
    get(proxy.admin_address(), "/certificates").await.text
}

fn config(net: Net, counter: u64) -> ProxyConfig {
    net.config(counter, Protocol::Http, vec![split(&[("shop/v1", 1)])])
}

/// What `kubectl patch` makes of it: another policy with a revision above any other.
fn forged(net: Net) -> ProxyConfig {
    let mut forged = net.config(1, Protocol::Http, vec![split(&[("shop/v2", 1)])]);
    forged.revision = Revision {
        term: 9999,
        counter: 1,
    };
    forged
}

#[tokio::test]
async fn s3_a_patched_configuration_does_not_come_into_force_and_the_next_honest_one_does() {
    let (net, ours) = (Net::new(), Authority::new("cluster.local"));
    let honest = Files::signed(&ours, &config(net, 5), &ours.bundle(1));
    let mut mounted = Mounted::new(&honest);
    let proxy = proxy(net, &mounted, &[ours.root_id()]);
    assert_eq!(revision(&proxy), Revision { term: 1, counter: 5 });
    assert!(status(&proxy).await.contains(r#""signature":"required""#));
    mounted.put(&Files {
        policy: serde_json::to_vec(&forged(net)).unwrap(),
        ..honest
    });
    proxy
        .counts("smilax_proxy_config_rejected_total", &["tampered"], 1)
        .await;
    let told = status(&proxy).await;
    assert!(
        told.contains("the operator did not write it") && told.contains(r#""revision":"1.5""#),
        "{told}"
    );
    assert_eq!(revision(&proxy), Revision { term: 1, counter: 5 });
    mounted.put(&Files::signed(&ours, &config(net, 6), &ours.bundle(1)));
    eventually("the repaired one is in force", || {
        revision(&proxy) == Revision { term: 1, counter: 6 }
    })
    .await;
    assert!(!status(&proxy).await.contains("did not write it"));
}

#[tokio::test]
async fn s3_a_pod_made_after_the_attack_waits_rather_than_believes() {
    let (net, ours, theirs) = (
        Net::new(),
        Authority::new("cluster.local"),
        Authority::new("cluster.local"),
    );
    let honest = Files::signed(&ours, &config(net, 5), &ours.bundle(1));
    let forged = serde_json::to_vec(&forged(net)).unwrap();
    let attacks = [
        // The policy only.
        Files {
            policy: forged.clone(),
            ..honest.clone()
        },
        // Without a signature.
        Files {
            policy: forged.clone(),
            signature: vec![],
            ..honest.clone()
        },
        // Another root, signed by it, in the bundle and in a voucher of its own.
        Files::vouched(
            &theirs,
            &config(net, 9),
            &Authority::bundle_of(&[&ours, &theirs], 9),
            vec![theirs.vouch(vec![theirs.root_id()])],
        ),
        // The bundle only.
        Files {
            bundle: serde_json::to_vec(&theirs.bundle(9)).unwrap(),
            ..honest.clone()
        },
        // Signed, for another account.
        Files {
            signature: ours.sign_mount("shop/db", &honest.policy, &honest.bundle, vec![]),
            ..honest.clone()
        },
        Files {
            signature: b"{}".to_vec(),
            ..honest.clone()
        },
    ];
    for (index, attack) in attacks.iter().enumerate() {
        let mut mounted = Mounted::new(attack);
        let proxy = proxy(net, &mounted, &[ours.root_id()]);
        assert_eq!(revision(&proxy), Revision::default(), "attack {index}");
        let ready = get(proxy.metrics_address(), "/ready").await;
        assert_eq!(ready.status.as_u16(), 503, "attack {index}");
        assert!(
            !roots(&proxy).await.contains(&theirs.root_id().0),
            "attack {index}"
        );
        mounted.put(&honest);
        eventually("the repaired one is in force", || {
            revision(&proxy) == Revision { term: 1, counter: 5 }
        })
        .await;
    }
}

#[tokio::test]
async fn s3_a_later_root_counts_when_a_trusted_one_vouches_for_it() {
    let net = Net::new();
    let [first, second, third] = [(); 3].map(|()| Authority::new("cluster.local"));
    let vouchers = vec![
        first.vouch(vec![first.root_id(), second.root_id()]),
        second.vouch(vec![third.root_id()]),
    ];
    let files = Files::vouched(&third, &config(net, 5), &third.bundle(3), vouchers);
    let mounted = Mounted::new(&files);
    let oldest = proxy(net, &mounted, &[first.root_id()]);
    assert_eq!(revision(&oldest), Revision { term: 1, counter: 5 });
    assert!(roots(&oldest).await.contains(&third.root_id().0));
}

#[tokio::test]
async fn s3_an_older_configuration_that_was_signed_leads_no_running_proxy_back() {
    let (net, ours) = (Net::new(), Authority::new("cluster.local"));
    let old = Files::signed(&ours, &config(net, 4), &ours.bundle(1));
    let mut mounted = Mounted::new(&Files::signed(&ours, &config(net, 5), &ours.bundle(2)));
    let proxy = proxy(net, &mounted, &[ours.root_id()]);
    mounted.put(&old);
    proxy
        .counts("smilax_proxy_config_rejected_total", &["stale"], 1)
        .await;
    assert_eq!(revision(&proxy), Revision { term: 1, counter: 5 });
    assert!(roots(&proxy).await.contains(r#""generation":2"#));
}

#[tokio::test]
async fn s3_an_old_trust_bundle_beside_the_same_policy_is_told_of() {
    let (net, ours) = (Net::new(), Authority::new("cluster.local"));
    let old = Files::signed(&ours, &config(net, 5), &ours.bundle(1));
    let mut mounted = Mounted::new(&Files::signed(&ours, &config(net, 5), &ours.bundle(2)));
    let proxy = proxy(net, &mounted, &[ours.root_id()]);
    mounted.put(&old);
    proxy
        .counts("smilax_proxy_config_rejected_total", &["stale"], 1)
        .await;
    let told = status(&proxy).await;
    assert!(told.contains("trust bundle 1 is older than 2"), "{told}");
    assert!(roots(&proxy).await.contains(r#""generation":2"#));
    mounted.put(&Files::signed(&ours, &config(net, 5), &ours.bundle(3)));
    eventually("the repaired one is in force", || {
        proxy.proxy().shared().metrics.identity.bundle.get() == 3
    })
    .await;
    assert!(!status(&proxy).await.contains("is older than"));
}

#[tokio::test]
async fn s3_another_trust_bundle_beside_the_policy_in_force_is_told_of() {
    let [ours, theirs] = [(); 2].map(|()| Authority::new("cluster.local"));
    let net = Net::new();
    let honest = Files::signed(&ours, &config(net, 5), &ours.bundle(1));
    let mut mounted = Mounted::new(&honest);
    let proxy = proxy(net, &mounted, &[ours.root_id()]);
    mounted.put(&Files {
        bundle: serde_json::to_vec(&theirs.bundle(9)).unwrap(),
        ..honest
    });
    proxy
        .counts("smilax_proxy_config_rejected_total", &["tampered"], 1)
        .await;
    assert!(!roots(&proxy).await.contains(&theirs.root_id().0));
}

#[tokio::test]
async fn s3_a_proxy_that_restarts_beside_a_forged_configuration_keeps_whom_it_trusts() {
    let (net, ours) = (Net::new(), Authority::new("cluster.local"));
    let state = tempfile::tempdir().unwrap();
    let honest = Files::signed(&ours, &config(net, 5), &ours.bundle(2));
    let mut mounted = Mounted::new(&honest);
    drop(restarted(net, &mounted, &ours, state.path()));
    mounted.put(&Files {
        policy: serde_json::to_vec(&forged(net)).unwrap(),
        ..honest
    });
    let proxy = restarted(net, &mounted, &ours, state.path());
    assert_eq!(revision(&proxy), Revision { term: 1, counter: 5 });
    let told = roots(&proxy).await;
    assert!(
        told.contains(&ours.root_id().0) && told.contains(r#""generation":2"#),
        "{told}"
    );
}

#[tokio::test]
async fn s3_of_two_meshes_below_one_root_neither_configures_the_others_pods() {
    let (net, theirs) = (Net::new(), Authority::new("other.example"));
    let state = tempfile::tempdir().unwrap();
    let mut mounted = Mounted::new(&Files::signed(&theirs, &config(net, 9), &theirs.bundle(9)));
    let ours = theirs.with_domain("cluster.local");
    let proxy = restarted(net, &mounted, &ours, state.path());
    assert_eq!(revision(&proxy), Revision::default());
    assert!(status(&proxy).await.contains("trust domain other.example"));
    mounted.put(&Files::signed(&ours, &config(net, 5), &ours.bundle(1)));
    eventually("its own is in force", || {
        revision(&proxy) == Revision { term: 1, counter: 5 }
    })
    .await;
}

#[tokio::test]
async fn a_pod_of_a_version_before_takes_unsigned_configurations_and_says_so() {
    let (net, ours) = (Net::new(), Authority::new("cluster.local"));
    let mut mounted = Mounted::new(&Files {
        signature: vec![],
        ..Files::signed(&ours, &config(net, 5), &ours.bundle(1))
    });
    let proxy = proxy(net, &mounted, &[]);
    assert_eq!(revision(&proxy), Revision { term: 1, counter: 5 });
    assert!(status(&proxy).await.contains(r#""signature":"notRequired""#));
    // What a later operator signs is read as before.
    mounted.put(&Files::signed(&ours, &config(net, 6), &ours.bundle(1)));
    eventually("the next is in force", || {
        revision(&proxy) == Revision { term: 1, counter: 6 }
    })
    .await;
}
