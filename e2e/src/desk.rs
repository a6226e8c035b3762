//! Where a reader of the documentation sits: a shell with kubectl, helm and smilax, in a copy of the repository's folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment;
use crate::mesh::Mesh;
use crate::pages::{Action, Step};

/// What pages name as files of the repository.
const FOLDERS: [&str; 5] = ["charts", "config", "docs", "e2e", "hack"];
/// Removes the namespaces of the pages, which hold what they speak of. One that has the name and is somebody else's stays, and ends the
/// test.
const CLEAR: &str = r#"
for name in shop orders billing demo; do
  kubectl get namespace "$name" >/dev/null 2>&1 || continue
  mine=$(kubectl get namespace "$name" -o jsonpath='{.metadata.labels.smilax-e2e-documents}')
  if [[ $mine != true ]]; then
    echo "namespace $name is not of these tests, which need the name: run them on another cluster" >&2
    exit 1
  fi
done
kubectl delete namespace --selector smilax-e2e-documents=true --timeout=180s
"#;
/// Namespaces that a page has made: when it began, none of the name was there that is somebody else's.
const ADOPT: &str = r#"
for name in shop orders billing demo; do
  kubectl label --overwrite namespace "$name" smilax-e2e-documents=true 2>/dev/null || true
done
"#;
/// How long one block may take.
const BLOCK: &str = "300";

/// Brings the mesh back that a page may have removed, or installed in another way than Helm.
const INSTALL: &str = r"
if ! helm status smilax --namespace smilax-system >/dev/null 2>&1; then
  kubectl delete --ignore-not-found --timeout=150s -f config/default/meshconfig.yaml || true
  kubectl delete --ignore-not-found --timeout=150s -k config/default
fi
e2e/install
";

/// What the page before may have done to the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installation {
    /// Nothing.
    AsItWas,
    /// Anything.
    Changed,
}

impl Installation {
    /// By the commands of the page.
    pub fn after(steps: &[Step]) -> Self {
        let changes = |step: &Step| match &step.action {
            Action::Run { script, .. } => ["helm ", "config/", "smilax-system", "meshconfig"]
                .iter()
                .any(|word| script.contains(word)),
            Action::Apply(_) => false,
        };
        if steps.iter().any(changes) {
            Self::Changed
        } else {
            Self::AsItWas
        }
    }
}

/// A desk.
#[derive(Debug)]
pub struct Desk {
    folder: PathBuf,
}

impl Desk {
    /// An empty one, at which a page of this name is read. Objects of the pages before are gone, and the mesh is installed.
    ///
    /// # Errors
    /// What cannot be prepared.
    pub fn fresh(mesh: &Mesh, page: &str, installation: Installation) -> Result<Self, String> {
        let desk = Self::laid_out(mesh, page)
            .map_err(|error| format!("cannot make a folder for {page}: {error}"))?;
        desk.clear()?;
        if installation == Installation::Changed {
            desk.shell("install", INSTALL, 0)?;
        }
        desk.shell(
            "objects",
            &format!(
                "sed 's#IMAGE#{}#' e2e/tests/documents/shop.yaml >objects.yaml\n\
                 for attempt in 1 2 3 4 5; do kubectl apply -f objects.yaml && break || sleep 2; done\n\
                 kubectl --namespace shop wait --for=condition=Ready pods --all --timeout=150s\n\
                 kubectl --namespace orders rollout status deployment/orders --timeout=150s",
                environment::testapp_image()
            ),
            0,
        )?;
        Ok(desk)
    }

    /// Removes what pages made.
    ///
    /// # Errors
    /// What cannot be removed.
    pub fn clear(&self) -> Result<(), String> {
        self.shell("clear", CLEAR, 0)
    }

    /// Marks the namespaces that the page made as its own, for [`Self::clear`].
    ///
    /// # Errors
    /// When the shell cannot be started.
    pub fn adopt(&self) -> Result<(), String> {
        self.shell("adopt", ADOPT, 0)
    }

    /// Leaves the mesh installed and nothing of the pages in the cluster.
    ///
    /// # Errors
    /// What cannot be done.
    pub fn leave(&self) -> Result<(), String> {
        self.clear()?;
        self.shell("install", INSTALL, 0)
    }

    /// Does what a page asks for.
    ///
    /// # Errors
    /// What was printed, when it ends otherwise than the page says.
    pub fn take(&self, step: &Step) -> Result<(), String> {
        let name = format!("line-{}", step.line);
        match &step.action {
            Action::Run { script, exit } => self.shell(&name, script, *exit),
            Action::Apply(manifest) => {
                let file = format!("{name}.yaml");
                fs::write(self.folder.join(&file), manifest).map_err(|error| error.to_string())?;
                self.shell(&name, &format!("kubectl apply -f {file}"), 0)
            }
        }
    }

    fn laid_out(mesh: &Mesh, page: &str) -> std::io::Result<Self> {
        let root = fs::canonicalize(environment::repository())?;
        let folder = root.join("target/e2e/documents").join(page);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let programs = folder.join("bin");
        fs::create_dir_all(&programs)?;
        for name in FOLDERS {
            symlink(root.join(name), folder.join(name))?;
        }
        let smilax = fs::canonicalize(environment::smilax())?;
        symlink(&smilax, programs.join("smilax"))?;
        symlink(&smilax, programs.join("kubectl-smilax"))?;
        for (name, given) in [("helm", "HELM"), ("kubectl", "SMILAX_KUBECTL")] {
            if let Some(program) =
                environment::variable(given).filter(|program| Path::new(program).is_absolute())
            {
                symlink(program, programs.join(name))?;
            }
        }
        fs::copy(mesh.kubectl().kubeconfig(), folder.join("kubeconfig"))?;
        Ok(Self { folder })
    }

    /// Runs a script as a reader would type it, and keeps what it printed.
    fn shell(&self, name: &str, script: &str, exit: i32) -> Result<(), String> {
        let folder = self.folder.display();
        let script = format!(
            "set -euo pipefail\nexport PATH=\"{folder}/bin:$PATH\"\n\
             kubectl config set-context --current --namespace shop >/dev/null\n{script}\n"
        );
        let output = Command::new("timeout")
            .args([BLOCK, "bash", "-c", &script])
            .current_dir(&self.folder)
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .output()
            .map_err(|error| format!("cannot run bash: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let printed = text(&output.stdout) + &text(&output.stderr);
        fs::write(self.folder.join(format!("{name}.log")), &printed).map_err(|error| error.to_string())?;
        match output.status.code() {
            Some(code) if code == exit => Ok(()),
            Some(124) => Err(format!("it takes longer than {BLOCK} s:\n{printed}")),
            code => Err(format!("it ends with {code:?} instead of {exit}:\n{printed}")),
        }
    }
}
