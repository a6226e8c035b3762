//! `smilax ca`: asks the operator to change the root or the issuer, and shows where a change stands. Both by the
//! MeshConfig: nobody but the operator reads the authority itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use smilax_core::convention::key;
use tokio::time::timeout;

use crate::cluster;
use crate::mesh;
use crate::output::OutputArgs;
use crate::remedies;

const CALL: Duration = Duration::from_secs(10);
const NAME: &str = "default";
/// Field manager of the annotation.
const MANAGER: &str = "smilax-ca";
/// Conditions about the authority.
const CONDITIONS: [(&str, &str); 2] = [("AuthorityReady", "authority"), ("AuthorityRotating", "change")];

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Replace the root, or only the issuer below it, while requests go on.
    ///
    /// The new one is trusted, then used, then the old one is dropped. Each step waits until every Ready pod has done the one
    /// before.
    Rotate(RotateArgs),
    /// Show who signs certificates, and what a rotation waits for.
    ///
    /// Exits with 1 if no certificates are signed.
    Status(StatusArgs),
}

/// How the status is shown.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What is changed.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["root", "issuer"])))]
pub(crate) struct RotateArgs {
    /// Replace the root, and with it the issuer.
    #[arg(long)]
    root: bool,
    /// Replace the issuer, below the same root.
    #[arg(long)]
    issuer: bool,
    /// Do not wait for pods. Those that lag behind lose connections until they catch up. Also ends the wait of a rotation that is
    /// under way.
    #[arg(long)]
    force: bool,
}

/// What the status says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// What it is about, and what is told of that.
    lines: Vec<(&'static str, String)>,
    pub(crate) health: Health,
}

impl Status {
    /// A line for each.
    pub(crate) fn table(&self) -> String {
        let lines = self.lines.iter().map(|(what, told)| format!("{what}: {told}"));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let lines = self.lines.iter();
        let mut all: serde_json::Map<String, Value> = lines
            .map(|(what, told)| ((*what).to_owned(), json!(told)))
            .collect();
        all.insert("signing".to_owned(), json!(self.health == Health::Sound));
        all.into()
    }
}

/// Whether certificates are signed and everything is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Sound,
    Unsound,
}

impl RotateArgs {
    /// The request as the operator reads it. Another id is another request.
    fn request(&self, id: &str) -> String {
        let target = if self.root { "root" } else { "issuer" };
        let patience = if self.force { "/force" } else { "" };
        format!("{target}/{id}{patience}")
    }
}

/// Asks for a change.
///
/// # Errors
/// When the operator would not follow the request, or it cannot be made.
pub(crate) async fn rotate(client: Client, installation: &str, args: &RotateArgs) -> anyhow::Result<String> {
    expect_own_authority(&cluster::operator(&client, installation).await?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let request = args.request(&now.as_millis().to_string());
    let resource = cluster::mesh_config();
    // Made if there is none.
    let object = json!({
        "apiVersion": resource.api_version, "kind": resource.kind,
        "metadata": { "name": NAME, "annotations": { key::ROTATE: request } },
    });
    let api = Api::<DynamicObject>::all_with(client, &resource);
    let parameters = PatchParams::apply(MANAGER).force();
    timeout(CALL, api.patch(NAME, &parameters, &Patch::Apply(object)))
        .await
        .context("the API server does not answer")?
        .context("the MeshConfig cannot be written; that needs the right to patch and create meshconfigs")?;
    Ok(format!(
        "asked for {request}; `smilax ca status` shows how far it is\n"
    ))
}

/// Makes sure that the operator made the authority itself: one that somebody gave changes with its Secret only.
fn expect_own_authority(objects: &[Value]) -> anyhow::Result<()> {
    match mesh::authority_secret(objects) {
        None => Ok(()),
        Some(name) => bail!(
            "root and issuer follow Secret {name}, as the value certificates.authoritySecret says, and no request: change that Secret instead"
        ),
    }
}

/// What the operator tells.
pub(crate) async fn status(client: Client, installation: &str) -> anyhow::Result<Status> {
    let all = cluster::list(&client, None, &cluster::mesh_config()).await?;
    let found = all.iter().find(|one| one["metadata"]["name"] == NAME);
    Ok(read(found, installation))
}

fn read(mesh: Option<&Value>, installation: &str) -> Status {
    let Some(mesh) = mesh else {
        let told = format!(
            "there is no MeshConfig default, on which the operator reports; run {}",
            remedies::install(installation)
        );
        return Status {
            lines: vec![("authority", told)],
            health: Health::Unsound,
        };
    };
    let conditions: Vec<&Value> = mesh["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    let mut health = Health::Unsound;
    for (kind, word) in CONDITIONS {
        let told = match conditions.iter().find(|one| one["type"] == kind) {
            Some(one) => {
                if kind == "AuthorityReady" && one["status"] == "True" {
                    health = Health::Sound;
                }
                format!("{}: {}", text(&one["reason"]), text(&one["message"]))
            }
            None => "unknown: the operator has not reported yet".to_owned(),
        };
        lines.push((word, told));
    }
    Status { lines, health }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_the_operator_reads_them() {
        let request = |root, force| {
            let args = RotateArgs {
                root,
                issuer: !root,
                force,
            };
            args.request("17")
        };
        assert_eq!(request(true, false), "root/17");
        assert_eq!(request(false, true), "issuer/17/force");
    }

    #[test]
    fn a_request_that_the_operator_would_not_follow_is_an_error() {
        let operator = |args: Value| {
            json!({
                "kind": "Deployment", "metadata": {"name": "smilax-operator"},
                "spec": {"template": {"spec": {"containers": [{"args": args}]}}},
            })
        };
        assert!(expect_own_authority(&[operator(json!([]))]).is_ok());
        let given = operator(json!(["--authority-secret=my-ca"]));
        let error = expect_own_authority(&[given]).unwrap_err().to_string();
        assert!(
            error.starts_with("root and issuer follow Secret my-ca"),
            "{error}"
        );
    }

    #[test]
    fn the_status_shows_what_the_operator_told() {
        let mesh = json!({"status": {"conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "-"},
            {"type": "AuthorityReady", "status": "True", "reason": "Ready", "message": "signed by a"},
            {"type": "AuthorityRotating", "status": "True", "reason": "TrustingBoth", "message": "it waits for 1: shop/web"},
        ]}});
        let status = read(Some(&mesh), "smilax-system");
        assert_eq!(status.health, Health::Sound);
        assert_eq!(
            status.table(),
            "authority: Ready: signed by a\nchange: TrustingBoth: it waits for 1: shop/web\n"
        );
        assert_eq!(status.json()["authority"], "Ready: signed by a");
        assert_eq!(read(Some(&json!({})), "smilax-system").health, Health::Unsound);
        let missing = read(None, "mesh");
        assert_eq!(missing.health, Health::Unsound);
        assert!(
            missing
                .table()
                .contains("helm upgrade --install smilax charts/smilax --namespace mesh")
        );
    }
}
