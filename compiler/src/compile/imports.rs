//! What a workload calls: the destinations of its namespace, and those of others that it asks for.
//!
//! Routes of another namespace come in only when the account, or its namespace, asks for them. They are the first to be left
//! out when there are too many.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use smilax_core::config::Destination;
use smilax_core::convention::key;
use smilax_core::pattern::MOST_OF_ROUTES;
use smilax_core::{DestinationName, Workload};

use crate::diagnostic::{Diagnostic, Reason};
use crate::index::Index;
pub(crate) use crate::keys::values::Wanted;
use crate::keys::values::destinations;
use crate::plan::NamespacePlan;

/// Destinations by name.
pub(crate) type Destinations = BTreeMap<DestinationName, Destination>;

/// The destinations of a workload, and what of its imports is left out.
pub(super) fn with_imports(index: &mut Index, workload: &Workload) -> (Destinations, Vec<Diagnostic>) {
    let own = index.plan(&workload.namespace);
    let mut destinations = own.destinations.clone();
    let mut spent = Spent::default();
    spent.take(&own, &destinations);
    let mut diagnostics = mistakes(index, workload);
    let mut asked: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
    for (namespace, wanted) in imports(index, workload).into_iter().flatten() {
        asked.entry(namespace).or_default().push(wanted);
    }
    // Its own namespace is there already, all of it.
    asked.remove(&*workload.namespace);
    for (namespace, wanted) in asked {
        let plan = index.plan(&namespace);
        let mut imported = Destinations::new();
        for wanted in &wanted {
            import(&plan, wanted, Audience::Workload(workload), &mut imported);
        }
        if let Fits::No = spent.take(&plan, &imported) {
            // How they are secured stays known: nothing may fall back to plaintext because routes are large.
            imported.values_mut().for_each(clear_routes);
            let message = format!(
                "annotation {}: the regular expressions of what is imported from namespace {namespace} take, with those \
                 of its own namespace and of other imports, more than {} MiB when compiled; no routes are imported from \
                 {namespace}. Name fewer Services",
                key::DESTINATIONS,
                MOST_OF_ROUTES / (1024 * 1024)
            );
            diagnostics.push(about(workload, Reason::OverBudget, message));
        }
        destinations.append(&mut imported);
    }
    (destinations, diagnostics)
}

/// Entries that mean nothing, each told on the object that it is written on.
fn mistakes(index: &Index, workload: &Workload) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (kind, name, list) in written(index, workload) {
        for entry in destinations(list) {
            let (reason, what) = match entry {
                Err(entry) => (
                    Reason::Invalid,
                    format!("{entry:?} is not of the form namespace/service or namespace/*; it is left out"),
                ),
                Ok((other, wanted)) => match missing(index, &other, &wanted) {
                    Some(what) => (
                        Reason::DestinationNotFound,
                        format!("{what} does not exist; it counts as soon as it does"),
                    ),
                    None => continue,
                },
            };
            let message = format!("annotation {}: {what}", key::DESTINATIONS);
            found.push(Diagnostic::about(
                kind,
                workload.namespace.clone(),
                name.clone(),
                reason,
                message,
            ));
        }
    }
    found
}

/// What is asked for and is not there.
fn missing(index: &Index, namespace: &str, wanted: &Wanted) -> Option<String> {
    let services = index.contents(namespace).map(|contents| &contents.services);
    match wanted {
        Wanted::All if index.namespace(namespace).is_none() => Some(format!("Namespace {namespace}")),
        Wanted::One(name) if !services.is_some_and(|all| all.contains_key(&name.name)) => {
            Some(format!("Service {name}"))
        }
        Wanted::All | Wanted::One(_) => None,
    }
}

/// What the expressions of routes count for so far, each once.
#[derive(Debug, Default)]
struct Spent {
    sizes: HashMap<String, usize>,
    size: usize,
}

enum Fits {
    Yes,
    No,
}

impl Spent {
    /// Takes the expressions of destinations, if they fit.
    fn take(&mut self, plan: &NamespacePlan, destinations: &Destinations) -> Fits {
        let routes = destinations
            .values()
            .flat_map(|destination| &destination.ports)
            .flat_map(|port| &port.routes);
        let matches = routes.flat_map(|route| &route.matches);
        let patterns = matches.flat_map(|one| {
            let headers = one.headers.iter().map(|header| &header.value);
            one.path.iter().chain(headers)
        });
        let new: HashMap<&String, usize> = patterns
            .filter(|pattern| !self.sizes.contains_key(*pattern))
            .filter_map(|pattern| Some((pattern, *plan.patterns.get(pattern)?)))
            .collect();
        let size = self.size + new.values().sum::<usize>();
        if size > MOST_OF_ROUTES {
            return Fits::No;
        }
        self.size = size;
        self.sizes
            .extend(new.into_iter().map(|(pattern, size)| (pattern.clone(), size)));
        Fits::Yes
    }
}

/// Entries of the annotation of the account and of its namespace; `Err` carries an entry that cannot be read.
pub(crate) fn imports(index: &Index, workload: &Workload) -> Vec<Result<(String, Wanted), String>> {
    written(index, workload)
        .flat_map(|(_, _, list)| destinations(list))
        .collect()
}

/// The annotation of the namespace and that of the account, each with the kind and the name of its object.
fn written<'a>(
    index: &'a Index,
    workload: &'a Workload,
) -> impl Iterator<Item = (&'static str, &'a Arc<str>, &'a str)> {
    let Workload { namespace, account } = workload;
    let of_namespace = index.namespace(namespace).map(|one| &one.annotations);
    let of_account = index
        .contents(namespace)
        .and_then(|contents| contents.accounts.get(account))
        .map(|one| &one.annotations);
    [
        ("Namespace", namespace, of_namespace),
        ("ServiceAccount", account, of_account),
    ]
    .into_iter()
    .filter_map(|(kind, name, annotations)| {
        let list = annotations?.get(key::DESTINATIONS)?;
        Some((kind, name, list.as_str()))
    })
}

/// For whom something is imported.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Audience<'a> {
    /// Whoever may call it, or something that its routes lead to.
    Callers,
    /// This workload, whether it may or not.
    Workload(&'a Workload),
}

/// Adds what is wanted of a namespace, with every backend that its routes lead to. Who may call none of these is told no more
/// of a destination than how it is reached.
pub(crate) fn import(plan: &NamespacePlan, wanted: &Wanted, audience: Audience<'_>, into: &mut Destinations) {
    let roots = plan.destinations.values().filter(|destination| match wanted {
        Wanted::All => true,
        Wanted::One(name) => destination.name == *name,
    });
    let (told, others): (Vec<_>, Vec<_>) = roots.partition(|destination| match audience {
        Audience::Callers => true,
        Audience::Workload(workload) => plan.may_call(workload, &destination.name),
    });
    for destination in told {
        let routes = destination.ports.iter().flat_map(|port| &port.routes);
        for backend in routes.flat_map(|route| &route.backends) {
            if let Some(found) = plan.destinations.get(&backend.destination) {
                into.entry(found.name.clone())
                    .or_insert_with(|| without_routes(found));
            }
        }
        into.insert(destination.name.clone(), destination.clone());
    }
    for destination in others {
        into.entry(destination.name.clone())
            .or_insert_with(|| destination.addresses_only());
    }
}

/// A destination that is only sent to: where its own routes lead was not asked for.
fn without_routes(destination: &Destination) -> Destination {
    let mut destination = destination.clone();
    clear_routes(&mut destination);
    destination
}

fn clear_routes(destination: &mut Destination) {
    for port in &mut destination.ports {
        port.routes.clear();
    }
}

fn about(workload: &Workload, reason: Reason, message: String) -> Diagnostic {
    let Workload { namespace, account } = workload;
    Diagnostic::about(
        "ServiceAccount",
        namespace.clone(),
        account.clone(),
        reason,
        message,
    )
}
