//! Objects that an earlier mesh stored in older versions are rewritten in the stored version of ours, and the
//! definitions' list of stored versions is trimmed, so that later releases may drop old versions.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, Request};
use kube::{Api, Client, Resource as _, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use super::kinds::SmiKind;
use super::writer::FIELD_MANAGER;
use crate::excerpt::{self, Excerpt, Shape};

const CALL: Duration = Duration::from_secs(10);
const PAGE: u32 = 100;
const STORED: &str = "v1alpha4";

/// What is kept of each object of a list.
const NAMES: Excerpt = Excerpt {
    kind: "an object that may be stored in an old version",
    shape: Shape::Members(&[(
        "metadata",
        Shape::Members(&[("name", Shape::Name), ("namespace", Shape::Name)]),
    )]),
    bytes: 16 * 1024,
};

/// Why a migration did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The API server did not answer.
    #[error("the API server did not answer")]
    TimedOut,
    /// It refused.
    #[error("{0}")]
    Api(#[from] kube::Error),
}

/// Migrates every kind that needs it. One that does not come to its end is tried again by the next call.
pub async fn run(client: &Client) -> bool {
    let mut done = true;
    for kind in SmiKind::ALL {
        match migrate(client, kind).await {
            Ok(0) => {}
            Ok(rewritten) => tracing::info!(
                kind = kind.kind(),
                rewritten,
                "stored objects brought to {STORED}"
            ),
            Err(error) => {
                tracing::warn!(kind = kind.kind(), %error, "stored objects not yet brought to {STORED}; it is tried again");
                done = false;
            }
        }
    }
    done
}

async fn migrate(client: &Client, kind: SmiKind) -> Result<usize, MigrateError> {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let Some(definition) = call(definitions.get_opt(&kind.definition())).await? else {
        return Ok(0);
    };
    if !needs_migration(&definition) {
        return Ok(0);
    }
    let resource = kind.resource();
    let mut rewritten = 0;
    let names = Api::<DynamicObject>::all_with(excerpt::client(client, NAMES.into()), &resource);
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = call(names.list(&params)).await?;
        for object in &page.items {
            let namespace = object.namespace().unwrap_or_default();
            let stored = Request::new(DynamicObject::url_path(&resource, Some(&namespace)));
            rewritten += usize::from(store_anew(client, &stored, &object.name_any()).await? == Stored::Anew);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    let status = json!({
        "metadata": { "resourceVersion": definition.resource_version() },
        "status": { "storedVersions": [STORED] },
    });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    call(definitions.patch_status(&kind.definition(), &params, &Patch::Merge(status))).await?;
    Ok(rewritten.max(1))
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// It was written back.
    Anew,
    /// One that changed meanwhile was stored anew by that change, and one that is gone needs nothing.
    Already,
}

/// Writes an object back as it is, which makes the API server store it anew. It stays text: decoded, the objects of a
/// tenant may take a hundred times their size.
async fn store_anew(client: &Client, stored: &Request, name: &str) -> Result<Stored, MigrateError> {
    let read = stored.get(name, &GetParams::default()).map_err(built)?;
    let written = match call(client.request_text(read)).await {
        Ok(object) => {
            let write = stored
                .replace(name, &PostParams::default(), object.into_bytes())
                .map_err(built)?;
            call(client.request_text(write)).await
        }
        Err(error) => Err(error),
    };
    match written {
        Ok(_) => Ok(Stored::Anew),
        Err(MigrateError::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
            Ok(Stored::Already)
        }
        Err(error) => Err(error),
    }
}

fn built(error: kube::core::request::Error) -> kube::Error {
    kube::Error::BuildRequest(error)
}

/// Whether old versions are listed as stored while ours is the one stored now.
fn needs_migration(definition: &CustomResourceDefinition) -> bool {
    let stores_ours = definition
        .spec
        .versions
        .iter()
        .any(|version| version.storage && version.name == STORED);
    let status = definition.status.as_ref();
    let stored = status.and_then(|status| status.stored_versions.as_ref());
    stores_ours && stored.is_some_and(|versions| versions.iter().any(|version| version != STORED))
}

async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, MigrateError> {
    timeout(CALL, request)
        .await
        .map_err(|_| MigrateError::TimedOut)?
        .map_err(MigrateError::from)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use parking_lot::Mutex;

    use super::*;

    fn definition(stored: &[&str], storage: &str) -> CustomResourceDefinition {
        let version = |name: &str| json!({"name": name, "served": true, "storage": name == storage});
        serde_json::from_value(json!({
            "metadata": {"name": "trafficsplits.split.smi-spec.io"},
            "spec": {
                "group": "split.smi-spec.io", "scope": "Namespaced",
                "names": {"kind": "TrafficSplit", "plural": "trafficsplits"},
                "versions": [version("v1alpha2"), version("v1alpha4")],
            },
            "status": {"storedVersions": stored},
        }))
        .unwrap()
    }

    #[test]
    fn old_stored_versions_are_migrated_once_ours_is_stored() {
        assert!(needs_migration(&definition(
            &["v1alpha2", "v1alpha4"],
            "v1alpha4"
        )));
        assert!(!needs_migration(&definition(&["v1alpha4"], "v1alpha4")));
        assert!(
            !needs_migration(&definition(&["v1alpha2"], "v1alpha2")),
            "another mesh's definitions are left alone"
        );
    }

    #[tokio::test]
    async fn s45_an_object_is_written_back_as_the_text_that_was_read() {
        let deep = format!(r#"{{"spec":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&asked), deep.clone());
        let server = tower::service_fn(move |request: http::Request<Body>| {
            let (seen, answer) = (Arc::clone(&seen), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                seen.lock().push((head.method, body));
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(answer.into_bytes())))
            }
        });
        let client = Client::new(server, "default");
        let stored = Request::new("/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits");
        assert_eq!(store_anew(&client, &stored, "web").await.unwrap(), Stored::Anew);
        let asked = asked.lock();
        assert_eq!(asked[0].0, http::Method::GET);
        assert_eq!(asked[1], (http::Method::PUT, deep.into()));
    }
}
