//! Which container of a pod may ask for certificates: the sidecar of this installation and no other.
//!
//! Whoever may make pods in a namespace can make one whose only container has the image and the arguments of a sidecar, and
//! has the account's identity then, as with Kubernetes' own tokens. This keeps everybody else's containers away from it.

use std::fmt;

use smilax_core::convention::TOKEN_AUDIENCE;
use smilax_core::convention::container::{PROXY as SIDECAR, PROXY_ARGUMENTS as ARGUMENTS};

use crate::model::Pod;

/// A container that mounts a token for the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TokenHolder {
    /// Its name.
    pub container: String,
    /// Its image, as written.
    pub image: String,
    /// What it runs instead of what the image says; nothing for a sidecar.
    pub command: Vec<String>,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Where the images of sidecars come from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum SidecarImages {
    /// Anywhere: where no installation is known, as when a mesh is compiled from files.
    #[default]
    Any,
    /// One of these repositories, by any tag or digest: pods keep their sidecar while the mesh is upgraded.
    Repositories(Vec<String>),
}

/// Why a pod gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASidecar {
    /// No container mounts a token for the mesh.
    #[error(
        "no container of the pod mounts a token for {TOKEN_AUDIENCE}: the pod has no sidecar; make it again where its namespace is in the mesh"
    )]
    None,
    /// Another container does.
    #[error(
        "container {0:?} mounts a token for {TOKEN_AUDIENCE}, which is for the sidecar alone; remove the mount"
    )]
    Container(String),
    /// The sidecar's image is not from a known place.
    #[error(
        "the image {0:?} of container {SIDECAR:?} is from none of this installation's repositories ({1}); make the pod again, or add the repository to the chart's value injector.sidecarRepositories"
    )]
    Image(String, String),
    /// The sidecar runs something else.
    #[error("container {SIDECAR:?} runs {0:?}, which is not what a sidecar runs; make the pod again")]
    Arguments(Vec<String>),
}

impl SidecarImages {
    /// The repositories of these images, and these repositories.
    pub fn new<'a>(images: impl IntoIterator<Item = &'a str>) -> Self {
        let repositories = images.into_iter().map(|image| repository(image).to_owned());
        Self::Repositories(repositories.collect())
    }

    /// Whether an image is from one of them.
    pub fn has(&self, image: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Repositories(all) => all.iter().any(|one| one == repository(image)),
        }
    }
}

impl fmt::Display for SidecarImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Repositories(all) => f.write_str(&all.join(", ")),
        }
    }
}

/// Whether a pod's token is the sidecar's alone.
///
/// # Errors
/// [`NotASidecar`].
pub fn judge_token(pod: &Pod, images: &SidecarImages) -> Result<(), NotASidecar> {
    let mut holders = pod.token_holders.iter();
    let Some(first) = holders.next() else {
        return Err(NotASidecar::None);
    };
    let foreign = |holder: &&TokenHolder| holder.container != SIDECAR;
    if let Some(other) = std::iter::once(first).chain(holders).find(foreign) {
        return Err(NotASidecar::Container(other.container.clone()));
    }
    if !images.has(&first.image) {
        return Err(NotASidecar::Image(first.image.clone(), images.to_string()));
    }
    if !first.command.is_empty() || first.arguments != ARGUMENTS {
        let run = first.command.iter().chain(&first.arguments).cloned();
        return Err(NotASidecar::Arguments(run.collect()));
    }
    Ok(())
}

/// An image's name without its tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    let after_host = name.rfind('/').map_or(0, |slash| slash + 1);
    match name.get(after_host..).and_then(|last| last.find(':')) {
        Some(colon) => name.get(..after_host + colon).unwrap_or(name),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar() -> TokenHolder {
        TokenHolder {
            container: SIDECAR.to_owned(),
            image: "registry.example:5000/smilax-proxy:0.1.0".to_owned(),
            command: Vec::new(),
            arguments: vec!["run".to_owned()],
        }
    }

    fn images() -> SidecarImages {
        SidecarImages::new(["registry.example:5000/smilax-proxy:0.2.0@sha256:aa"])
    }

    fn judge(holders: &[TokenHolder]) -> Result<(), NotASidecar> {
        let pod = Pod {
            token_holders: holders.to_vec(),
            ..Pod::default()
        };
        judge_token(&pod, &images())
    }

    #[test]
    fn s12_a_sidecar_of_this_installation_gets_a_certificate_in_any_version() {
        assert_eq!(judge(&[sidecar()]), Ok(()));
        for image in [
            "registry.example:5000/smilax-proxy",
            "registry.example:5000/smilax-proxy@sha256:bb",
        ] {
            let image = image.to_owned();
            assert_eq!(judge(&[TokenHolder { image, ..sidecar() }]), Ok(()));
        }
    }

    #[test]
    fn s12_a_pod_without_a_sidecar_gets_none() {
        assert_eq!(judge(&[]), Err(NotASidecar::None));
    }

    #[test]
    fn s12_a_token_that_another_container_mounts_is_worth_nothing() {
        let application = TokenHolder {
            container: "application".to_owned(),
            ..sidecar()
        };
        let expected = Err(NotASidecar::Container("application".to_owned()));
        assert_eq!(judge(std::slice::from_ref(&application)), expected);
        assert_eq!(judge(&[sidecar(), application]), expected);
    }

    #[test]
    fn s12_another_image_under_the_name_of_the_sidecar_gets_none() {
        for image in [
            "registry.example:5000/smilax-proxy-evil:0.1.0",
            "evil.example/registry.example:5000/smilax-proxy:0.1.0",
            "smilax-proxy:0.1.0",
            "",
        ] {
            let image = image.to_owned();
            let found = judge(&[TokenHolder { image, ..sidecar() }]);
            assert!(matches!(found, Err(NotASidecar::Image(..))), "{found:?}");
        }
    }

    #[test]
    fn s12_the_image_of_the_sidecar_that_runs_something_else_gets_none() {
        let command = TokenHolder {
            command: vec!["sh".to_owned()],
            ..sidecar()
        };
        let arguments = TokenHolder {
            arguments: vec!["run".to_owned(), "--admin-address=0.0.0.0".to_owned()],
            ..sidecar()
        };
        for holder in [command, arguments] {
            let found = judge(&[holder]);
            assert!(matches!(found, Err(NotASidecar::Arguments(_))), "{found:?}");
        }
    }
}
