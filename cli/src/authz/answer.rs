//! What a proxy would decide.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, bail};
use smilax_compiler::model::Pod;
use smilax_compiler::{compile, members};
use smilax_core::access::{Caller, Decision, DenialReason, Enforcement, Grant, Plaintext};
use smilax_core::config::{ContainerPort, TlsMode};
use smilax_core::convention::key;
use smilax_core::{Identity, Members, PodView, RouteTable, SpiffeId, Workload};

use super::question::{From, Place, Question, What};
use crate::names;
use crate::world::World;

/// One decision, and all calls of which it is made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// What decided, or came nearest.
    pub(crate) why: String,
    pub(super) caller: String,
    pub(super) called: Workload,
    pub(super) port: u16,
    /// Pods of the caller and of the called, when it matters which.
    pub(super) pods: Vec<(String, String)>,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It is allowed.
    Allowed,
    /// It is not, and is let pass all the same, since denials are only logged.
    Audited,
    /// It is not.
    Denied,
}

/// A caller as its certificate shows it.
struct Known {
    label: String,
    pod: String,
    identity: Option<Identity>,
    address: IpAddr,
}

/// What every pod that is called decides about every pod that calls; equal decisions once.
///
/// # Errors
/// When nothing can be said: no such Service or pod, no such port, no pod behind it, no such account.
pub(crate) fn answer(world: &mut World, question: &Question) -> anyhow::Result<Vec<Answer>> {
    let called = called(world, &question.to)?;
    let callers = callers(world, &question.from)?;
    let mut answers: Vec<Answer> = Vec::new();
    for (pod, port) in &called {
        let table = table(world, pod)?;
        for caller in &callers {
            let (verdict, why) = decide(&table, pod, *port, caller, &question.what);
            let new = Answer {
                verdict,
                why,
                caller: caller.label.clone(),
                called: workload(pod),
                port: *port,
                pods: vec![(caller.pod.clone(), pod.meta.name.to_string())],
            };
            match answers.iter_mut().find(|known| known.is_alike(&new)) {
                Some(known) => known.pods.extend(new.pods),
                None => answers.push(new),
            }
        }
    }
    // Which pods it is matters only where they differ.
    if let [only] = answers.as_mut_slice() {
        only.pods.clear();
    }
    answers.sort();
    Ok(answers)
}

impl Answer {
    fn is_alike(&self, other: &Self) -> bool {
        (&self.verdict, &self.why, &self.caller, &self.called, self.port)
            == (
                &other.verdict,
                &other.why,
                &other.caller,
                &other.called,
                other.port,
            )
    }
}

/// Pods that are called, each with its port.
fn called(world: &World, to: &Place) -> anyhow::Result<Vec<(Pod, u16)>> {
    let contents = world
        .index
        .contents(&to.namespace)
        .with_context(|| format!("namespace {} holds nothing that is known", to.namespace))?;
    let Some(service) = contents.services.get(to.name.as_str()) else {
        let pod = contents.pods.get(to.name.as_str()).with_context(|| {
            let services = contents.services.keys();
            let known = services.chain(contents.pods.keys()).map(|name| &**name);
            format!(
                "namespace {} has neither a Service nor a pod {}{}",
                to.namespace,
                to.name,
                names::did_you_mean(&to.name, known)
            )
        })?;
        let port = to.port.with_context(|| {
            format!(
                "say which port of pod {} is called: {}/{}:PORT",
                to.name, to.namespace, to.name
            )
        })?;
        return Ok(vec![(pod.clone(), port)]);
    };
    let ports: Vec<u16> = service.ports.keys().copied().collect();
    let port = match (to.port, ports.as_slice()) {
        (Some(port), _) if ports.contains(&port) => port,
        (Some(port), _) => bail!("Service {} has no TCP port {port}; it has {ports:?}", to.name),
        (None, [only]) => *only,
        (None, _) => bail!(
            "say which port of Service {} is called, one of {ports:?}",
            to.name
        ),
    };
    let target = service
        .target_ports
        .get(&port)
        .cloned()
        .unwrap_or(ContainerPort::Number(port));
    let pods: Vec<(Pod, u16)> = contents
        .pods
        .values()
        .filter(|pod| !service.selector.is_empty() && !pod.finished && pod.is_selected_by(&service.selector))
        .filter_map(|pod| Some((pod.clone(), pod.port(&target)?)))
        .collect();
    if pods.is_empty() {
        bail!(
            "no pod stands behind port {port} of Service {}, so there is nobody to decide",
            to.name
        );
    }
    Ok(pods)
}

/// Pods that call. Which of them calls matters to bindings by labels; without any, the account alone does.
fn callers(world: &World, from: &From) -> anyhow::Result<Vec<Known>> {
    let account = match from {
        From::Address(address) => {
            return Ok(vec![Known {
                label: address.to_string(),
                pod: String::new(),
                identity: None,
                address: *address,
            }]);
        }
        From::Account(account) => account,
    };
    let id = SpiffeId::of(&world.index.settings().trust_domain, account);
    let unknown: IpAddr = Ipv4Addr::UNSPECIFIED.into();
    let pods: Vec<&Pod> = world
        .index
        .contents(&account.namespace)
        .into_iter()
        .flat_map(|contents| contents.pods.values())
        .filter(|pod| pod.account == account.account && !pod.finished)
        .collect();
    if pods.is_empty() {
        world.expect_account(account)?;
        return Ok(vec![Known {
            label: account.to_string(),
            pod: String::new(),
            identity: Some(Identity::new(id, None)),
            address: unknown,
        }]);
    }
    let mut known: Vec<Known> = Vec::new();
    for pod in pods {
        let identity = pod
            .injected()
            .then(|| Identity::new(id.clone(), Some(pod.meta.uid.as_str().into())));
        known.push(Known {
            label: account.to_string(),
            pod: pod.meta.name.to_string(),
            identity,
            address: unknown,
        });
    }
    Ok(known)
}

fn workload(pod: &Pod) -> Workload {
    Workload::new(pod.meta.namespace.clone(), pod.account.clone())
}

/// What the proxy of a pod decides with.
fn table(world: &mut World, pod: &Pod) -> anyhow::Result<(RouteTable, Members)> {
    let workload = workload(pod);
    let (config, _) = compile(&mut world.index, &workload);
    let members = members(&mut world.index, &workload);
    let table = RouteTable::lower(&config, &view(pod)).context("the compiled policy is not valid")?;
    Ok((table, members))
}

fn decide(
    (table, members): &(RouteTable, Members),
    pod: &Pod,
    port: u16,
    caller: &Known,
    what: &What,
) -> (Verdict, String) {
    if !pod.injected() {
        let why = "the called pod has no proxy, so nothing is enforced";
        return (Verdict::Allowed, why.to_owned());
    }
    if pod.skips_inbound(port) {
        let why = format!(
            "the called pod's proxy leaves port {port} alone ({})",
            key::SKIP_INBOUND_PORTS
        );
        return (Verdict::Allowed, why);
    }
    let access = &table.access;
    if caller.identity.is_none() && access.plaintext(caller.address, port) == Plaintext::Refused {
        let why = format!(
            "the caller proves no identity, and TLS mode {} refuses that",
            TlsMode::Strict
        );
        return (Verdict::Denied, why);
    }
    let who = Caller {
        identity: caller.identity.as_ref(),
        address: caller.address,
    };
    let standing = access.standing(who, port, members);
    let decision = match what {
        What::Connection => access.decide_connection(&standing),
        What::Request(request) => access.decide_request(&standing, request),
    };
    let refused = match access.enforcement() {
        Enforcement::Enforced => Verdict::Denied,
        Enforcement::Audited => Verdict::Audited,
    };
    match decision {
        Decision::Allowed(Grant::Target(target)) => (Verdict::Allowed, format!("{target} allows it")),
        Decision::Allowed(Grant::Open) => (Verdict::Allowed, "nothing restricts calls to it".to_owned()),
        Decision::Allowed(Grant::UnauthenticatedSource) => (
            Verdict::Allowed,
            "the caller's address is let in without an identity".to_owned(),
        ),
        Decision::AmbiguousPath(ambiguity) => (
            refused,
            format!("the path could be read in two ways: {ambiguity}"),
        ),
        Decision::AmbiguousHeader(read) => (
            refused,
            format!(
                "a TrafficTarget decides by the header {read}, and the request has it in another spelling"
            ),
        ),
        Decision::Denied(denial) => {
            let nearest = denial
                .nearest
                .map(|target| format!("; {target} is the closest match"))
                .unwrap_or_default();
            let hint = match (denial.reason, what) {
                (DenialReason::NotHttp, What::Connection) => "; ask about a request with --method and --path",
                _ => "",
            };
            (refused, format!("{}{nearest}{hint}", denial.reason))
        }
    }
}

/// What the proxy of a pod knows of it.
fn view(pod: &Pod) -> PodView {
    let annotation = |key: &str| pod.annotations.get(key).map(|text| text.trim());
    PodView {
        labels: pod.labels.clone(),
        port_names: pod.port_names.clone(),
        access: annotation(key::ACCESS_MODE).and_then(|mode| mode.parse().ok()),
        tls: annotation(key::TLS_MODE).and_then(|mode| mode.parse().ok()),
        tls_ports: annotation(key::TLS_PORT_MODES)
            .into_iter()
            .flat_map(|list| list.split(','))
            .filter_map(|entry| {
                let (port, mode) = entry.split_once('=')?;
                Some((port.trim().parse().ok()?, mode.trim().parse().ok()?))
            })
            .collect(),
    }
}
