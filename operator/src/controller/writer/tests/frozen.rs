//! An editor of a namespace may write whatever the API server takes, and must not keep the operator from writing again.

use http::Method;
use http::request::Parts;
use kube::Client;
use parking_lot::Mutex;

use super::super::maps::{maps_of, store};
use super::super::outcome::{WriteError, is_conflict};
use super::answers::serving;
use super::*;
use crate::controller::watch::MANAGED_BY;

/// Bytes of annotations that the API server takes.
const ANNOTATIONS: usize = 256 * 1024;
/// Bytes that etcd takes.
const ETCD: usize = 1536 * 1024;

type Refused = (u16, &'static str);

/// One ConfigMap in an API server with the chart's admission policy.
#[derive(Clone)]
struct Server(Arc<Mutex<Stored>>);

struct Stored {
    object: Option<Value>,
    version: u64,
    /// Versions that were asked to be deleted.
    deleted: Vec<Value>,
    /// Somebody changes what was read, at once.
    is_contested: bool,
}

impl Server {
    /// With what the operator wrote, and one change by somebody else.
    fn with(change: impl FnOnce(&mut Value)) -> Self {
        let mut object = ours("{}");
        object["metadata"]["uid"] = json!("u");
        object["metadata"]["resourceVersion"] = json!("1");
        change(&mut object);
        Self(Arc::new(Mutex::new(Stored {
            object: Some(object),
            version: 1,
            deleted: Vec::new(),
            is_contested: false,
        })))
    }

    fn client(&self) -> Client {
        let stored = Arc::clone(&self.0);
        serving(move |head, body| match stored.lock().answer(head, &body) {
            Ok(object) => (200, object.to_string()),
            Err((code, message)) => {
                let reason = if code == 409 { "Conflict" } else { "" };
                let status = json!({
                    "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
                });
                (code, status.to_string())
            }
        })
    }

    /// Writes a new policy over this version.
    async fn write(&self, version: Option<&str>) -> Result<ConfigMap, WriteError> {
        store(&maps_of(&self.client(), "shop"), WEB, version, ours(NEW)).await
    }

    /// Asserts that there is what the operator wrote, and nothing else.
    fn holds_ours_alone(&self) {
        let mut object = self.0.lock().object.clone().unwrap();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("uid");
        metadata.remove("resourceVersion");
        assert_eq!(object, ours(NEW));
    }
}

impl Stored {
    fn answer(&mut self, head: &Parts, body: &Value) -> Result<Value, Refused> {
        let kind = head.headers.get("content-type");
        let is_apply = kind.is_some_and(|kind| kind == "application/apply-patch+yaml");
        match (&head.method, self.object.clone()) {
            (&Method::PATCH, None) if is_apply => {
                let mut new = body.clone();
                new["metadata"]["uid"] = json!("v");
                self.keep(&Value::Null, new)
            }
            (_, None) => Err((404, "not found")),
            (&Method::GET, Some(there)) => {
                if self.is_contested {
                    self.keep(&there, there.clone())?;
                }
                Ok(there)
            }
            (&Method::PATCH, Some(there)) => {
                let wanted = &body["metadata"]["resourceVersion"];
                if !wanted.is_null() && *wanted != there["metadata"]["resourceVersion"] {
                    return Err((409, "the object has been modified"));
                }
                let mut new = there.clone();
                json_patch::merge(&mut new, body);
                self.keep(&there, new)
            }
            (&Method::DELETE, Some(there)) => self.delete(there, &body["preconditions"]),
            _ => Err((405, "not allowed")),
        }
    }

    fn keep(&mut self, before: &Value, mut new: Value) -> Result<Value, Refused> {
        labelled(&new)?;
        if before["immutable"] == true && (new["data"] != before["data"] || new["immutable"] != true) {
            return Err((422, "data: Forbidden: field is immutable when `immutable` is set"));
        }
        if new["metadata"]["annotations"].to_string().len() > ANNOTATIONS {
            return Err((
                422,
                "metadata.annotations: Too long: may not be more than 262144 bytes",
            ));
        }
        if new.to_string().len() > ETCD {
            return Err((500, "etcdserver: request is too large"));
        }
        self.version += 1;
        new["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let is_gone =
            !new["metadata"]["deletionTimestamp"].is_null() && new["metadata"]["finalizers"].is_null();
        self.object = (!is_gone).then(|| new.clone());
        Ok(new)
    }

    fn delete(&mut self, mut there: Value, exactly: &Value) -> Result<Value, Refused> {
        labelled(&there)?;
        let metadata = &there["metadata"];
        let found = json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]});
        if *exactly != found {
            return Err((409, "the precondition does not hold"));
        }
        self.deleted.push(found);
        if metadata["finalizers"].is_null() {
            self.object = None;
            return Ok(there);
        }
        there["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let before = there.clone();
        self.keep(&before, there)
    }
}

/// The admission policy.
fn labelled(object: &Value) -> Result<(), Refused> {
    let is_labelled = object["metadata"]["labels"][MANAGED_BY.0] == MANAGED_BY.1;
    is_labelled.then_some(()).ok_or((403, "lacks the label"))
}

const NEW: &str = "{\"new\":true}";

/// What the operator writes.
fn ours(policy: &str) -> Value {
    let workload = smilax_core::Workload::new("shop", "web");
    map_object(WEB, &workload, (policy, &Form::Plain), ("", None))
}

#[tokio::test]
async fn s63_a_configmap_made_immutable_without_our_label_is_replaced() {
    let server = Server::with(|map| {
        map["immutable"] = json!(true);
        map["metadata"]["labels"] = json!({"theirs": "yes"});
    });
    // What has lost the label is not watched any more.
    server.write(None).await.unwrap();
    server.holds_ours_alone();
    let exactly = json!({"uid": "u", "resourceVersion": "2"});
    assert_eq!(
        server.0.lock().deleted,
        [exactly],
        "the version that was released"
    );
}

#[tokio::test]
async fn s63_a_configmap_made_immutable_with_a_finalizer_is_replaced() {
    let server = Server::with(|map| {
        map["immutable"] = json!(true);
        map["metadata"]["finalizers"] = json!(["example.com/keep"]);
    });
    server.write(Some("1")).await.unwrap();
    server.holds_ours_alone();
}

#[tokio::test]
async fn s63_an_immutable_configmap_that_a_finalizer_keeps_from_going_is_replaced() {
    let server = Server::with(|map| {
        map["immutable"] = json!(true);
        map["metadata"]["finalizers"] = json!(["example.com/keep"]);
        map["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    server.write(Some("1")).await.unwrap();
    server.holds_ours_alone();
    assert!(
        server.0.lock().deleted.is_empty(),
        "it went with its last finalizer"
    );
}

#[tokio::test]
async fn s63_a_configmap_with_annotations_that_leave_no_room_for_ours_is_replaced() {
    let server = Server::with(|map| {
        let annotations = json!({"a": "x".repeat(ANNOTATIONS - 10)});
        map["metadata"]["annotations"] = annotations;
    });
    server.write(Some("1")).await.unwrap();
    server.holds_ours_alone();
}

#[tokio::test]
async fn s63_a_configmap_with_finalizers_that_leave_no_room_in_etcd_is_replaced() {
    let server = Server::with(|map| {
        let there = map.to_string().len();
        map["metadata"]["finalizers"] = json!([format!("example.com/{}", "x".repeat(ETCD - there - 32))]);
    });
    server.write(Some("1")).await.unwrap();
    server.holds_ours_alone();
}

#[tokio::test]
async fn s63_what_somebody_changes_meanwhile_is_neither_released_nor_deleted() {
    let server = Server::with(|map| {
        map["immutable"] = json!(true);
        map["metadata"]["finalizers"] = json!(["example.com/keep"]);
    });
    server.0.lock().is_contested = true;
    let written = server.write(Some("1")).await;
    assert!(is_conflict(&written));
    let stored = server.0.lock();
    assert!(stored.deleted.is_empty());
    assert!(!stored.object.as_ref().unwrap()["metadata"]["finalizers"].is_null());
}

#[tokio::test]
async fn s63_a_configmap_of_ours_stays_when_admission_forbids_its_successor() {
    let forbidden =
        json!({"kind": "Status", "status": "Failure", "code": 403, "message": "denied by a webhook"});
    let stored = ours("{}").to_string();
    let client = serving(move |head, _| match head.method {
        Method::PATCH => (403, forbidden.to_string()),
        Method::GET => (200, stored.clone()),
        _ => panic!("{} of what is not foreign", head.method),
    });
    let written = store(&maps_of(&client, "shop"), WEB, Some("1"), ours(NEW)).await;
    assert!(written.unwrap_err().to_string().contains("denied by a webhook"));
}
