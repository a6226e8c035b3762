//! Pods as people name them: by themselves, or by what makes them.

use std::str::FromStr;

use crate::controller::Controller;

const FORMS: &str = "write POD, NAMESPACE/POD or KIND/NAME, for example web-1, shop/web-1 or deploy/web";

/// A pod, or the pods of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One pod.
    Pod { namespace: Option<String>, pod: String },
    /// The pods that a controller makes.
    Controller { kind: &'static str, name: String },
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(FORMS.to_owned());
        }
        match parts[..] {
            [pod] | ["pod" | "pods" | "po", pod] => Ok(Self::Pod {
                namespace: None,
                pod: pod.to_owned(),
            }),
            [first, second] => Ok(match Controller::kind(first) {
                Some(kind) => Self::Controller {
                    kind,
                    name: second.to_owned(),
                },
                None => Self::Pod {
                    namespace: Some(first.to_owned()),
                    pod: second.to_owned(),
                },
            }),
            _ => Err(FORMS.to_owned()),
        }
    }
}
