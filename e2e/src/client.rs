//! A pod that calls others: what it sees is what users' pods see.

use std::time::Duration;

use serde::de::DeserializeOwned;
use smilax_core::ProxyConfig;
use smilax_core::Revision;
use smilax_core::config::Security;
use smilax_core::convention::METRICS_PORT;
use smilax_testapp::fault::{Fault, Injected};
use smilax_testapp::fetch::{Fetched, Started, Talked};
use smilax_testapp::load::Report;

use crate::kubectl::Kubectl;
use crate::load::Load;
use crate::namespace::{self, Namespace, must};
use crate::objects::Object;
use crate::wait::{PATIENCE, Progress, pause, wait_until, wait_within};

/// The test application's program in its image.
const PROGRAM: &str = "/smilax-testapp";
/// How old a page of metrics may be: scrapes within a second of each other share one.
const METRICS_AGE: Duration = Duration::from_secs(1);

/// A pod with the test application in its container `app`.
#[derive(Clone, Debug)]
pub struct Client {
    kubectl: Kubectl,
    pod: String,
    account: String,
}

/// A load that runs in the client's pod until it is stopped.
#[derive(Debug)]
#[must_use = "a load that nobody stops says nothing"]
pub struct Background {
    client: Client,
    id: u64,
}

impl Client {
    /// The only pod of an app.
    pub fn of(namespace: &Namespace, app: &str, account: &str) -> Self {
        let pod = namespace.pod(app);
        Self::in_pod(
            namespace,
            pod["metadata"]["name"].as_str().unwrap_or_default(),
            account,
        )
    }

    /// A pod by its name.
    pub fn in_pod(namespace: &Namespace, pod: &str, account: &str) -> Self {
        Self {
            kubectl: namespace.kubectl().clone(),
            pod: pod.to_owned(),
            account: account.to_owned(),
        }
    }

    /// Name of its pod.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Sends a load and waits for its end.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a load is said and sent in one breath"
    )]
    #[track_caller]
    pub fn load(&self, load: Load) -> Report {
        let arguments = load.arguments();
        let mut all = vec!["load"];
        all.extend(arguments.iter().map(String::as_str));
        self.run(&all)
    }

    /// Starts a load that goes on meanwhile; it lives in the pod, so it outlives every connection to the cluster.
    #[track_caller]
    pub fn start(&self, load: Load) -> Background {
        let load = load.seconds(600);
        let arguments = load.arguments();
        let mut all = vec!["background", "start"];
        all.extend(arguments.iter().map(String::as_str));
        let started: Started = self.run(&all);
        Background {
            client: self.clone(),
            id: started.id,
        }
    }

    /// One GET.
    #[track_caller]
    pub fn get(&self, url: &str) -> Fetched {
        self.run(&["get", url])
    }

    /// One request with flags of the client's command line.
    #[track_caller]
    pub fn get_with(&self, url: &str, flags: &[&str]) -> Fetched {
        let mut all = vec!["get", url];
        all.extend(flags);
        self.run(&all)
    }

    /// One TCP connection.
    #[track_caller]
    pub fn tcp(&self, address: &str, flags: &[&str]) -> Talked {
        let mut all = vec!["tcp", address];
        all.extend(flags);
        self.run(&all)
    }

    /// One upgraded connection, through which these lines go.
    #[track_caller]
    pub fn upgrade(&self, url: &str, lines: &[&str]) -> Talked {
        let mut all = vec!["upgrade", url];
        for line in lines {
            all.extend(["--send", line]);
        }
        self.run(&all)
    }

    /// Sets the fault that the server of this pod injects into its answers; since when, in milliseconds since the epoch.
    #[track_caller]
    pub fn inject(&self, fault: Fault) -> u64 {
        let injected: Injected = self.run(&["fault", &fault.to_string()]);
        injected.since_ms
    }

    /// Waits until a URL answers with 200: names, addresses and endpoints of a new Service take a moment.
    #[track_caller]
    pub fn reaches(&self, url: &str) {
        wait_until(&format!("{} reaches {url}", self.pod), || {
            let fetched = self.get_with(url, &["--timeout-ms=1000"]);
            Progress::when(fetched.status == Some(200), (), || format!("{fetched:?}"))
        });
    }

    /// Waits until the mesh has written a configuration of which this is true, and this pod's proxy enforces it.
    #[track_caller]
    pub fn enforces(&self, what: &str, holds: impl Fn(&ProxyConfig) -> bool) {
        let written = wait_until(
            &format!("the configuration of account {} {what}", self.account),
            || match namespace::policy(&self.kubectl, &self.account) {
                Ok(config) if holds(&config) => Progress::Done(config.revision),
                Ok(config) => Progress::Pending(format!("{config:?}")),
                Err(error) => Progress::Pending(error),
            },
        );
        // kubelet brings ConfigMaps to the pod once a minute or so, unless it was told otherwise.
        wait_within(
            PATIENCE * 3,
            &format!("the proxy of {} enforces revision {written}", self.pod),
            || {
                let enforced = self.revision();
                Progress::when(enforced.is_some_and(|revision| revision >= written), (), || {
                    format!("{enforced:?}")
                })
            },
        );
    }

    /// Waits until this pod's proxy enforces the newest generation of a TrafficSplit.
    #[track_caller]
    pub fn enforces_split(&self, split: &Object) {
        let stored = must(self.kubectl.get(&[&split.reference()]));
        let generation = stored["metadata"]["generation"].as_i64().unwrap_or_default();
        self.enforces(
            &format!("holds generation {generation} of split {}", split.name()),
            |config| generations(config, split.name()).any(|one| one == generation),
        );
    }

    /// Waits until this pod's proxy has forgotten a TrafficSplit.
    #[track_caller]
    pub fn forgot_split(&self, split: &str) {
        self.enforces(&format!("no longer holds split {split}"), |config| {
            generations(config, split).next().is_none()
        });
    }

    /// Waits until this pod's proxy judges its callers by the newest generation of a TrafficTarget.
    #[track_caller]
    pub fn enforces_target(&self, target: &Object) {
        let stored = must(self.kubectl.get(&[&target.reference()]));
        let generation = stored["metadata"]["generation"].as_i64().unwrap_or_default();
        self.enforces(
            &format!("holds generation {generation} of target {}", target.name()),
            |config| targets(config, target.name()).any(|one| one == generation),
        );
    }

    /// Waits until this pod's proxy has forgotten a TrafficTarget.
    #[track_caller]
    pub fn forgot_target(&self, target: &str) {
        self.enforces(&format!("no longer holds target {target}"), |config| {
            targets(config, target).next().is_none()
        });
    }

    /// Waits until this pod's proxy calls a Service of its namespace, or `namespace/service`, only where that proves to
    /// be one of the mesh.
    #[track_caller]
    pub fn secures(&self, service: &str) {
        self.enforces(&format!("secures {service}"), |config| {
            config
                .destinations
                .iter()
                .filter(|destination| {
                    *destination.name.name == *service || destination.name.to_string() == service
                })
                .flat_map(|destination| &destination.ports)
                .any(|port| port.security == Security::MutualTls)
        });
    }

    /// Revision that this pod's proxy enforces, when it says one.
    #[track_caller]
    pub fn revision(&self) -> Option<Revision> {
        let metrics = self.proxy_metrics();
        let part = |name: &str| {
            let series = format!("smilax_proxy_config_revision{{part=\"{name}\"}}");
            metric(&metrics, &series)
        };
        Some(Revision {
            term: part("term")?,
            counter: part("counter")?,
        })
    }

    /// The metrics page of this pod's proxy.
    #[track_caller]
    pub fn proxy_metrics(&self) -> String {
        pause(METRICS_AGE);
        self.get(&format!("http://127.0.0.1:{METRICS_PORT}/metrics")).body
    }

    #[track_caller]
    fn run<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let mut all = vec!["exec", &self.pod, "--container=app", "--", PROGRAM];
        all.extend(arguments);
        let output = must(self.kubectl.run(&all));
        match serde_json::from_str(&output) {
            Ok(value) => value,
            Err(error) => panic!("{} {arguments:?} printed {output:?}: {error}", self.pod),
        }
    }
}

impl Background {
    /// What it counted so far.
    #[track_caller]
    pub fn look(&self) -> Report {
        self.client.run(&["background", "look", &self.id.to_string()])
    }

    /// Waits until so many more requests were answered.
    #[track_caller]
    pub fn goes_on(&self, requests: u64) {
        let before = self.look().requests;
        wait_until(&format!("{requests} more requests were sent"), || {
            let now = self.look().requests;
            Progress::when(now >= before + requests, (), || format!("{} more", now - before))
        });
    }

    /// Stops it and gives what it counted.
    #[track_caller]
    pub fn stop(self) -> Report {
        self.client.run(&["background", "stop", &self.id.to_string()])
    }
}

/// The value of a series on a metrics page.
pub fn metric(page: &str, series: &str) -> Option<u64> {
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

fn generations<'a>(config: &'a ProxyConfig, split: &'a str) -> impl Iterator<Item = i64> + 'a {
    config
        .destinations
        .iter()
        .flat_map(|destination| &destination.ports)
        .flat_map(|port| &port.routes)
        .filter(move |route| &*route.source.kind == "TrafficSplit" && &*route.source.name == split)
        .map(|route| route.source.generation)
}

fn targets<'a>(config: &'a ProxyConfig, target: &'a str) -> impl Iterator<Item = i64> + 'a {
    config
        .inbound
        .iter()
        .flat_map(|policy| &policy.targets)
        .filter(move |one| &*one.source.name == target)
        .map(|one| one.source.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_series() {
        let page = "# TYPE a gauge\na{part=\"counter\"} 17\na{part=\"counter_2\"} 3\nb 5\n";
        assert_eq!(metric(page, "a{part=\"counter\"}"), Some(17));
        assert_eq!(metric(page, "b"), Some(5));
        assert_eq!(metric(page, "a"), None);
    }
}
