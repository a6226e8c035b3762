//! What a command line says of the cluster before it is complete. Pure.

use std::path::PathBuf;

use kube::Client;

use crate::args::ClusterArgs;

/// Options that matter to which names there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    namespace: Option<String>,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
}

impl Given {
    /// Of the arguments as a shell hands them over; what cannot be understood is left out.
    pub(super) fn of(arguments: impl Iterator<Item = String>) -> Self {
        let mut given = Self::default();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => match argument.strip_prefix("-n") {
                    Some(value) if !value.is_empty() => ("-n".to_owned(), Some(value.to_owned())),
                    _ => (argument.clone(), None),
                },
            };
            let mut value = || value.clone().or_else(|| arguments.peek().cloned());
            match name.as_str() {
                "-n" | "--namespace" => given.namespace = value(),
                "--kubeconfig" => given.kubeconfig = value().map(PathBuf::from),
                "--context" => given.context = value(),
                _ => {}
            }
        }
        given
    }

    /// Which cluster is asked.
    pub(super) fn cluster(&self) -> ClusterArgs {
        ClusterArgs {
            installation: String::new(),
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }
    }

    /// Namespace of the names.
    pub(super) fn namespace<'a>(&'a self, client: &'a Client) -> &'a str {
        self.namespace.as_deref().unwrap_or(client.default_namespace())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_however_they_are_written() {
        let given = |line: &str| Given::of(line.split(' ').map(ToOwned::to_owned));
        let namespace = |line| given(line).namespace;
        for line in [
            "smilax explain -n shop ts/",
            "smilax explain -nshop ts/",
            "smilax explain --namespace shop ts/",
            "smilax --namespace=shop explain ts/",
        ] {
            assert_eq!(namespace(line).as_deref(), Some("shop"), "{line}");
        }
        assert_eq!(namespace("smilax explain ts/"), None);
        let all = given("smilax --kubeconfig=/k --context dev explain ts/");
        assert_eq!(
            (all.kubeconfig, all.context.as_deref()),
            (Some("/k".into()), Some("dev"))
        );
    }
}
