//! The MeshConfig: what it asks of the authority, and what it is told.

use std::time::Duration;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use smilax_compiler::status::Condition;
use smilax_core::convention::key;
use tokio::time::Instant;

use super::{InUse, Keeper};
use crate::authority::SECRET;
use crate::authority::plan::{Request, Step};
use crate::authority::status::{accepted, conditions};
use crate::call::call;
use crate::controller::watch::stored_object;
use crate::controller::writer::condition_json;

/// How often the status may change while a change is under way.
const STATUS_PERIOD: Duration = Duration::from_secs(5);
/// Of the conditions, which are not the compiler's.
const STATUS_MANAGER: &str = "smilax-operator-authority";

/// Of which kind a MeshConfig is, for the API.
pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        smilax_crds::mesh::GROUP,
        "v1alpha1",
        "MeshConfig",
    ))
}

/// The MeshConfig, as far as it matters here.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) object: DynamicObject,
    pub(super) request: Option<Request>,
    /// Whether every field is in force.
    accepted: Condition,
}

impl Keeper {
    pub(super) fn take_mesh(&mut self, seen: Option<DynamicObject>) {
        self.mesh = seen.map(|object| {
            let asked = object.annotations().get(key::ROTATE);
            let (request, understood) = match asked.map(|asked| asked.parse::<Request>()).transpose() {
                Ok(request) => (request, Ok(())),
                Err(error) => {
                    tracing::warn!(%error, annotation = key::ROTATE, "no change of the authority is made");
                    (None, Err(format!("annotation {}: {error}", key::ROTATE)))
                }
            };
            let generation = object.metadata.generation.unwrap_or_default();
            let accepted = accepted(&json!(object), understood, generation);
            Mesh {
                object,
                request,
                accepted,
            }
        });
    }

    pub(super) fn show(&self, in_use: &InUse, step: &Step) {
        let now = in_use.authority.material().phase();
        for phase in ["steady", "announced", "renewing"] {
            let gauge = self.task.metrics.rotation.with_label_values(&[phase]);
            gauge.set(i64::from(phase == now));
        }
        let blockers = match step {
            Step::Wait(blockers) => blockers.len(),
            _ => 0,
        };
        self.task
            .metrics
            .blockers
            .set(i64::try_from(blockers).unwrap_or(i64::MAX));
    }

    /// What only a leader shows is nothing for another, so that nobody is woken by what a former leader saw.
    pub(super) fn show_nothing(&self) {
        self.task.metrics.rotation.reset();
        self.task.metrics.blockers.set(0);
    }

    /// Writes what differs of our conditions, if there is a MeshConfig to write them on.
    pub(super) async fn write_status(&mut self, step: &Step) {
        let Some(mesh) = &self.mesh else { return };
        if self.status_written.is_some_and(|at| at.elapsed() < STATUS_PERIOD) {
            return;
        }
        let given = self.given.as_ref().and_then(|given| given.as_ref().err());
        let given = given.map(|fault| {
            format!(
                "Secret {}: {fault}",
                self.task.given.as_deref().unwrap_or_default()
            )
        });
        let faults: Vec<String> = self
            .fault
            .as_ref()
            .map(|fault| format!("Secret {SECRET}: {fault}"))
            .into_iter()
            .chain(given)
            .collect();
        let in_use = self.in_use();
        let authority = in_use.as_ref().map(|in_use| &in_use.authority);
        let generation = mesh.object.metadata.generation.unwrap_or_default();
        let desired: Vec<Condition> = conditions(
            authority,
            &faults,
            self.signer_fault.as_deref(),
            self.task.given.as_deref(),
            step,
            generation,
        )
        .into_iter()
        .chain([mesh.accepted.clone()])
        .collect();
        let now = k8s_openapi::jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let stored = stored_object(&mesh.object).conditions;
        let Some(merged) = smilax_compiler::status::merge(&stored, &desired, &now) else {
            return;
        };
        let ours = merged
            .iter()
            .filter(|one| desired.iter().any(|own| own.kind == one.kind))
            .map(condition_json);
        let resource = resource();
        let name = smilax_crds::mesh::NAME;
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": { "name": name },
            "status": { "conditions": ours.collect::<Vec<_>>() },
        });
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let parameters = PatchParams::apply(STATUS_MANAGER).force();
        self.status_written = Some(Instant::now());
        let patch = Patch::Apply(object);
        let written = call(
            "status of MeshConfig",
            name,
            api.patch_status(name, &parameters, &patch),
        )
        .await;
        match written {
            Ok(object) => {
                if let Some(mesh) = &mut self.mesh {
                    mesh.object = object;
                }
            }
            Err(error) => tracing::debug!(%error, "the status of the authority was not written"),
        }
    }
}
