//! The experiment's own access to the API server, past the proxy and with every right.

use anyhow::Context as _;
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long something is tried again that another part of the experiment keeps from working for a while.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(100);

/// Access to the API server.
#[derive(Clone)]
pub struct Api {
    client: Client,
}

/// Where an object is: `/api/v1/namespaces/shop/pods` and its name.
#[derive(Clone, Debug)]
pub struct Place {
    /// Path of its kind.
    pub collection: String,
    /// Its name.
    pub name: String,
}

/// Plural of a kind that the experiments use.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.as_str() {
        "httproutegroup" | "trafficsplit" | "traffictarget" | "tcproute" | "udproute" | "endpointslice" => {
            lower + "s"
        }
        _ if lower.ends_with('s') => lower + "es",
        _ => lower + "s",
    }
}

impl Place {
    /// Of an object as it is written.
    pub fn of(object: &Value) -> Self {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let version = text("/apiVersion");
        let root = if version.contains('/') { "apis" } else { "api" };
        let namespace = match text("/metadata/namespace") {
            "" => String::new(),
            namespace => format!("namespaces/{namespace}/"),
        };
        Self {
            collection: format!("/{root}/{version}/{namespace}{}", plural(text("/kind"))),
            name: text("/metadata/name").to_owned(),
        }
    }

    /// Its path.
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection, self.name)
    }
}

impl Api {
    /// Access by this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sends one request.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        form: &str,
        content: &Value,
    ) -> Result<Value, kube::Error> {
        let content = if content.is_null() {
            Vec::new()
        } else {
            content.to_string().into_bytes()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, form)
            .body(content)
            .map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    /// What the API server says at a path that answers with text, as `/metrics` does.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let request = Request::get(path).body(Vec::new())?;
        self.client
            .request_text(request)
            .await
            .with_context(|| format!("GET {path}"))
    }

    /// The object, or nothing. An API server that makes the storage of a changed definition anew is asked again.
    pub async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        match self
            .until_done("GET", path, "application/json", &Value::Null)
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every object of a kind; none when there is no such kind.
    pub async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut list = self.get(path).await?.unwrap_or_default();
        Ok(match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        })
    }

    /// Makes an object or changes it to this, and tries again while it is refused for a reason that may pass: an
    /// operator that is away does not answer the injector's webhook.
    pub async fn apply(&self, object: Value) -> anyhow::Result<Value> {
        self.apply_as(object, "chaos").await
    }

    /// The same by another writer.
    pub async fn apply_as(&self, object: Value, manager: &str) -> anyhow::Result<Value> {
        let path = format!("{}?fieldManager={manager}&force=true", Place::of(&object).path());
        self.until_done("PATCH", &path, "application/apply-patch+yaml", &object)
            .await
    }

    /// Makes a status say this.
    pub async fn apply_status(&self, object: Value) -> anyhow::Result<Value> {
        let path = format!("{}/status", Place::of(&object).path());
        self.until_done("PATCH", &path, "application/merge-patch+json", &object)
            .await
    }

    /// Changes an object.
    pub async fn merge(&self, path: &str, change: &Value) -> anyhow::Result<Value> {
        self.until_done("PATCH", path, "application/merge-patch+json", change)
            .await
    }

    async fn until_done(
        &self,
        method: &str,
        path: &str,
        form: &str,
        content: &Value,
    ) -> anyhow::Result<Value> {
        let start = Instant::now();
        loop {
            match self.send(method, path, form, content).await {
                Ok(done) => return Ok(done),
                Err(error) if start.elapsed() > PATIENCE || is_final(&error) => {
                    return Err(error).with_context(|| format!("{method} {path}"));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Removes an object, if it is there.
    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let now = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        match self.send("DELETE", path, "application/json", &now).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("delete {path}")),
        }
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 404)
}

/// What no waiting changes.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 422))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_lies_where_its_kind_and_namespace_say() {
        let split = json!({"apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit", "metadata": {"name": "web", "namespace": "shop"}});
        assert_eq!(
            Place::of(&split).path(),
            "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits/web"
        );
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        assert_eq!(Place::of(&namespace).path(), "/api/v1/namespaces/shop");
    }
}
