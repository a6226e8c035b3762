//! Subjects to identities (SMI IdentityBinding v1alpha4).

use std::collections::BTreeSet;
use std::sync::Arc;

use smilax_core::config::SourceMatch;
use smilax_core::{SpiffeId, Workload};

use super::{Closed, bare};
use crate::diagnostic::{Diagnostic, Reason};
use crate::model::{Binding, Subject, Target};
use crate::plan::{Names, Scope, object};

pub(super) const ACCOUNT: &str = "ServiceAccount";
pub(super) const BINDING: &str = "IdentityBinding";

/// Reports what is wrong with a binding itself.
pub(super) fn check(scope: &Scope<'_>, binding: &Binding, diagnostics: &mut BTreeSet<Diagnostic>) {
    let names = scope.names();
    let mut report = |reason, message| {
        diagnostics.insert(Diagnostic {
            object: object(BINDING, &binding.meta),
            reason,
            message,
        });
    };
    if let Some(fault) = binding.fault() {
        report(Reason::Invalid, fault);
    }
    for (index, id) in binding.ids.iter().enumerate() {
        let field = format!("spec.schemes.spiffeIdentities[{index}]");
        match id {
            Err(why) => report(Reason::Invalid, format!("{field}: {why}; it means nobody")),
            Ok(id) if !is_own(id, &binding.meta.namespace) => report(
                Reason::ForeignIdentity,
                format!(
                    "{field}: {} is of another namespace; a binding speaks for its own only, so it means nobody",
                    id.as_str()
                ),
            ),
            Ok(_) => {}
        }
    }
    let account = binding.account.as_deref();
    if let Some(account) = account.filter(|account| !exists(names, &binding.meta.namespace, account)) {
        report(
            Reason::AccountNotFound,
            no_account("spec.schemes.serviceAccount", account, &binding.meta.namespace),
        );
    }
    bare::check_binding(&scope.pods, binding, &mut report);
}

/// The pods that a target is about.
pub(super) fn destination(
    names: Names<'_>,
    subject: &Subject,
    report: &mut impl FnMut(Reason, String),
) -> Closed {
    let mut closed = Closed::default();
    match subject.kind.as_str() {
        ACCOUNT => {
            if !exists(names, names.namespace, &subject.name) {
                report(
                    Reason::DestinationNotFound,
                    no_account("spec.destination", &subject.name, names.namespace),
                );
            }
            closed.accounts.insert(subject.name.as_str().into());
        }
        BINDING => match names.contents.bindings.get(subject.name.as_str()) {
            None => report(
                Reason::DestinationNotFound,
                no_binding("spec.destination", &subject.name, names.namespace),
            ),
            // A binding that contradicts itself lets nobody in, but what it may mean is closed all the same.
            Some(binding) => {
                if binding.fault().is_some() {
                    report(
                        Reason::DestinationNotFound,
                        format!(
                            "spec.destination: IdentityBinding {} of namespace {} is not valid, and all pods that it may \
                             mean are closed; its status says why",
                            subject.name, names.namespace
                        ),
                    );
                }
                closed.accounts.extend(binding.account.as_deref().map(Arc::from));
                closed.accounts.extend(
                    own_ids(binding)
                        .filter(|id| id.trust_domain() == names.index.settings().trust_domain)
                        .filter_map(|id| Some(id.workload()?.account)),
                );
                closed
                    .labels
                    .extend(binding.labels.clone().filter(|labels| !labels.is_empty()));
            }
        },
        _ => report(Reason::InvalidKind, wrong_kind("spec.destination", &subject.kind)),
    }
    closed
}

/// Who may call.
pub(super) fn sources(
    names: Names<'_>,
    target: &Target,
    report: &mut impl FnMut(Reason, String),
) -> Vec<SourceMatch> {
    if target.sources.is_empty() {
        report(
            Reason::Invalid,
            "spec.sources: it names nobody, so it lets nobody call; name a ServiceAccount or an IdentityBinding"
                .to_owned(),
        );
    }
    let mut found: Vec<SourceMatch> = Vec::new();
    for (index, subject) in target.sources.iter().enumerate() {
        let field = format!("spec.sources[{index}]");
        for one in source(names, subject, &field, report) {
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    found
}

/// Whom a source means at present.
pub(super) fn means(names: Names<'_>, subject: &Subject) -> Vec<SourceMatch> {
    source(names, subject, "", &mut |_, _| {})
}

fn source(
    names: Names<'_>,
    subject: &Subject,
    field: &str,
    report: &mut impl FnMut(Reason, String),
) -> Vec<SourceMatch> {
    let namespace = subject.namespace.as_deref().unwrap_or(names.namespace);
    match subject.kind.as_str() {
        ACCOUNT => {
            if !exists(names, namespace, &subject.name) {
                report(
                    Reason::AccountNotFound,
                    no_account(field, &subject.name, namespace),
                );
            }
            vec![SourceMatch::Account(Workload::new(
                namespace,
                subject.name.as_str(),
            ))]
        }
        BINDING => {
            let binding = names
                .index
                .contents(namespace)
                .and_then(|contents| contents.bindings.get(subject.name.as_str()));
            match binding {
                None => {
                    report(
                        Reason::BindingNotFound,
                        no_binding(field, &subject.name, namespace),
                    );
                    Vec::new()
                }
                Some(binding) if binding.fault().is_some() => {
                    report(Reason::BindingNotFound, faulty(field, &subject.name, namespace));
                    Vec::new()
                }
                Some(binding) => bound(binding),
            }
        }
        kind => {
            report(Reason::InvalidKind, wrong_kind(field, kind));
            Vec::new()
        }
    }
}

/// Whom a sound binding means: any of its schemes.
fn bound(binding: &Binding) -> Vec<SourceMatch> {
    let namespace = &binding.meta.namespace;
    let account = binding
        .account
        .as_deref()
        .map(|account| SourceMatch::Account(Workload::new(namespace.clone(), account)));
    let labels = binding
        .labels
        .as_ref()
        .map(|_| SourceMatch::Binding(format!("{namespace}/{}", binding.meta.name)));
    account
        .into_iter()
        .chain(labels)
        .chain(own_ids(binding).cloned().map(SourceMatch::Spiffe))
        .collect()
}

fn own_ids(binding: &Binding) -> impl Iterator<Item = &SpiffeId> {
    binding
        .ids
        .iter()
        .flatten()
        .filter(|id| is_own(id, &binding.meta.namespace))
}

/// Whether an id is not that of a workload of another namespace. What it means beyond this mesh is its own affair.
fn is_own(id: &SpiffeId, namespace: &str) -> bool {
    id.workload()
        .is_none_or(|workload| *workload.namespace == *namespace)
}

fn exists(names: Names<'_>, namespace: &str, account: &str) -> bool {
    names
        .index
        .contents(namespace)
        .is_some_and(|contents| contents.accounts.contains_key(account))
}

fn no_account(field: &str, name: &str, namespace: &str) -> String {
    format!(
        "{field}: ServiceAccount {name} does not exist in namespace {namespace}; it counts as soon as it does"
    )
}

fn no_binding(field: &str, name: &str, namespace: &str) -> String {
    format!(
        "{field}: IdentityBinding {name} does not exist in namespace {namespace}; it means nobody until it does"
    )
}

fn faulty(field: &str, name: &str, namespace: &str) -> String {
    format!(
        "{field}: IdentityBinding {name} of namespace {namespace} is not valid and means nobody; its status says why"
    )
}

fn wrong_kind(field: &str, kind: &str) -> String {
    format!("{field}.kind: {kind:?} is not an identity; write {ACCOUNT} or {BINDING}")
}
