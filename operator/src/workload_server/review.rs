//! Who holds a token, by the word of the API server.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use smilax_compiler::{ingest, model};
use smilax_core::Workload;
use smilax_core::convention::TOKEN_AUDIENCE;

use crate::call::{CallError, call};

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// The pod that a token was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) workload: Workload,
    pub(super) pod: String,
    pub(super) pod_uid: String,
}

/// A token that proves nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    #[error("the API server could not be asked: {0}")]
    Call(#[from] CallError),
    #[error("the token is not valid")]
    NotAuthenticated,
    #[error("the token is not for {TOKEN_AUDIENCE}")]
    Audience,
    #[error("the token is not a ServiceAccount's")]
    NotAccount,
    #[error("the token is not bound to a pod")]
    NoPod,
}

/// Asks the API server about a token. It checks signature, expiry, audience, and that the pod lives.
pub(super) async fn review(client: &Client, token: String) -> Result<Holder, ReviewError> {
    let question = TokenReview {
        spec: TokenReviewSpec {
            token: Some(token),
            audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]),
        },
        ..TokenReview::default()
    };
    let api = Api::<TokenReview>::all(client.clone());
    let parameters = PostParams::default();
    let asked = api.create(&parameters, &question);
    holder(call("review token of", "a pod", asked).await?)
}

fn holder(answer: TokenReview) -> Result<Holder, ReviewError> {
    let status = answer.status.unwrap_or_default();
    if status.authenticated != Some(true) {
        return Err(ReviewError::NotAuthenticated);
    }
    // An API server that knows no audiences answers without: then it says nothing about ours.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|audience| audience == TOKEN_AUDIENCE) {
        return Err(ReviewError::Audience);
    }
    let user = status.user.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let mut parts = name.split(':');
    let workload = match (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) {
        (Some("system"), Some("serviceaccount"), Some(namespace), Some(account), None)
            if is_name(namespace) && is_name(account) =>
        {
            Workload::new(namespace, account)
        }
        _ => return Err(ReviewError::NotAccount),
    };
    let extra: BTreeMap<String, Vec<String>> = user.extra.unwrap_or_default();
    let one = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Ok(value.clone()),
        _ => Err(ReviewError::NoPod),
    };
    Ok(Holder {
        workload,
        pod: one(POD_NAME)?,
        pod_uid: one(POD_UID)?,
    })
}

/// What a name of Kubernetes is made of (RFC 1123), so that nothing else can stand in an identity.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    !name.is_empty() && name.len() <= 253 && name.bytes().all(plain)
}

/// The pod as it is now, if it has this UID and account. Asked when the watch has not shown it.
///
/// `excerpts` sees excerpts of pods, and only in lists: the pod may have megabytes that nobody here reads.
pub(super) async fn pod(excerpts: &Client, holder: &Holder) -> Result<Option<model::Pod>, CallError> {
    let api = Api::<Pod>::namespaced(excerpts.clone(), &holder.workload.namespace);
    let only = ListParams::default().fields(&format!("metadata.name={}", holder.pod));
    let found = call("list pod", &holder.pod, api.list(&only)).await?;
    let mut pods = found.items.iter().map(ingest::pod);
    Ok(pods.find(|pod| pod.meta.uid == holder.pod_uid && pod.account == holder.workload.account))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(change: impl FnOnce(&mut Value)) -> Result<Holder, ReviewError> {
        holder(review(change))
    }

    fn review(change: impl FnOnce(&mut Value)) -> TokenReview {
        let mut answer = json!({
            "spec": {},
            "status": {
                "authenticated": true, "audiences": [TOKEN_AUDIENCE],
                "user": {
                    "username": "system:serviceaccount:shop:web",
                    "extra": {POD_NAME: ["web-1"], POD_UID: ["u-1"]},
                },
            },
        });
        change(&mut answer);
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn the_holder_is_whom_the_api_server_names() {
        let expected = Holder {
            workload: Workload::new("shop", "web"),
            pod: "web-1".to_owned(),
            pod_uid: "u-1".to_owned(),
        };
        assert_eq!(answer(|_| {}).unwrap(), expected);
    }

    #[test]
    fn f7_what_the_api_server_does_not_vouch_for_is_refused() {
        let refused = |change: fn(&mut Value)| answer(change).unwrap_err();
        assert!(matches!(
            refused(|answer| answer["status"]["authenticated"] = json!(false)),
            ReviewError::NotAuthenticated
        ));
        assert!(matches!(
            refused(|answer| answer["status"] = json!({})),
            ReviewError::NotAuthenticated
        ));
        for audiences in ["api", "smilax.dev.evil"] {
            let other = answer(|answer| answer["status"]["audiences"] = json!([audiences]));
            assert!(matches!(other, Err(ReviewError::Audience)));
        }
        assert!(matches!(
            refused(|answer| answer["status"]["audiences"] = Value::Null),
            ReviewError::Audience
        ));
        for name in [
            "admin",
            "system:node:web",
            "system:serviceaccount:shop",
            "system:serviceaccount:shop:web:more",
            "system:serviceaccount:shop/sa/admin:web",
            "system:serviceaccount::web",
        ] {
            let other = answer(|answer| answer["status"]["user"]["username"] = json!(name));
            assert!(matches!(other, Err(ReviewError::NotAccount)), "{name}");
        }
        for (key, value) in [
            (POD_NAME, json!([])),
            (POD_UID, json!([""])),
            (POD_UID, json!(["a", "b"])),
        ] {
            let other = answer(|answer| answer["status"]["user"]["extra"][key] = value);
            assert!(matches!(other, Err(ReviewError::NoPod)), "{key}");
        }
    }
}
