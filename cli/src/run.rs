//! What each verb does.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kube::Client;
use tokio::time::Instant;

use crate::args::{Args, ClusterArgs, Command};
use crate::authority::{self, CaCommand, Health, StatusArgs as CaStatusArgs};
use crate::authz::{self, AuthzArgs, Question};
use crate::check::{self, CheckArgs};
use crate::explain::{self, ExplainArgs};
use crate::fleet::{self, State, StatusArgs};
use crate::injection::{self, WhyArgs};
use crate::plan::{self, PlanArgs};
use crate::world::World;
use crate::{cluster, files, help, log_level, namespaces, operator, preflight, proxy_config, workloads};

/// How often `check --wait` looks again.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// An answer, and whether it is a good one.
pub(crate) struct Done {
    pub(crate) text: String,
    pub(crate) verdict: Verdict,
}

/// What the exit code says of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is as it should be.
    Good,
    /// Something is wrong, refused, not in force, or would change.
    Finding,
}

impl Verdict {
    /// A finding when this is the case.
    pub(crate) fn finding_if(found: bool) -> Self {
        if found { Self::Finding } else { Self::Good }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Good => Self::SUCCESS,
            Verdict::Finding => Self::from(1),
        }
    }
}

impl Done {
    fn good(text: String) -> Self {
        let verdict = Verdict::Good;
        Self { text, verdict }
    }
}

/// Does what is asked.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn run(args: Args) -> anyhow::Result<Done> {
    let cluster = &args.cluster;
    let Some(command) = args.command else {
        return Ok(Done::good(help::text()));
    };
    match command {
        Command::Check(asked) => check(&asked, cluster).await,
        Command::Authz(asked) => authz(&asked, cluster).await,
        Command::Plan(asked) => plan(&asked, cluster).await,
        Command::Explain(asked) => explain(&asked, cluster).await,
        Command::WhyInject(asked) => why_inject(&asked, cluster).await,
        Command::ProxyStatus(asked) => proxy_status(&asked, cluster).await,
        Command::Namespaces(asked) => {
            let client = cluster::connect(cluster).await?;
            let answer = namespaces::answer(&client, &cluster.installation, &asked, now()).await?;
            Ok(Done::good(answer))
        }
        Command::ProxyConfig(asked) => {
            let client = cluster::connect(cluster).await?;
            Ok(Done::good(proxy_config::answer(&client, &asked, now()).await?))
        }
        Command::LogLevel(asked) => {
            let client = cluster::connect(cluster).await?;
            expect_namespace(&client, asked.namespace.as_deref()).await?;
            let levels = log_level::answer(&client, &asked).await?;
            let output = asked.output;
            output
                .render(now(), |_| log_level::table(&levels), || log_level::json(&levels))
                .map(Done::good)
        }
        Command::Ca(CaCommand::Rotate(asked)) => {
            let client = cluster::connect(cluster).await?;
            Ok(Done::good(
                authority::rotate(client, &cluster.installation, &asked).await?,
            ))
        }
        Command::Ca(CaCommand::Status(asked)) => ca_status(asked, cluster).await,
        Command::Version(asked) => {
            let snapshot = if asked.client {
                None
            } else {
                let client = cluster::connect(cluster).await?;
                Some(cluster::snapshot(&client, &cluster.installation).await?)
            };
            let versions = check::Versions::of(snapshot.as_ref());
            let output = asked.output;
            output
                .render(now(), |_| versions.table(), || versions.json())
                .map(Done::good)
        }
        Command::Completion { shell } => help::completion(shell).map(Done::good),
    }
}

async fn check(asked: &CheckArgs, cluster: &ClusterArgs) -> anyhow::Result<Done> {
    let client = cluster::connect(cluster).await?;
    let wait = asked.wait.map(Duration::from_secs);
    let findings = if asked.pre {
        check::before(&preflight::read(&client, &cluster.installation).await?)
    } else {
        let read = async || {
            Ok(check::check(
                &cluster::snapshot(&client, &cluster.installation).await?,
            ))
        };
        checked(read, wait).await?
    };
    Ok(Done {
        text: asked
            .output
            .render(now(), |_| check::table(&findings), || check::json(&findings))?,
        verdict: Verdict::finding_if(check::has_failed(&findings)),
    })
}

/// Checks the mesh; with `wait`, again and again until nothing fails or the time is over.
async fn checked<Read>(mut read: Read, wait: Option<Duration>) -> anyhow::Result<Vec<check::Finding>>
where
    Read: AsyncFnMut() -> anyhow::Result<Vec<check::Finding>>,
{
    let end = wait.map(|wait| Instant::now() + wait);
    loop {
        let findings = read().await?;
        if !check::has_failed(&findings) || end.is_none_or(|end| Instant::now() >= end) {
            return Ok(findings);
        }
        tokio::time::sleep(CHECK_AGAIN).await;
    }
}

async fn authz(asked: &AuthzArgs, cluster: &ClusterArgs) -> anyhow::Result<Done> {
    let mut world = if asked.files.is_empty() {
        let client = cluster::connect(cluster).await?;
        let objects = cluster::policy(&client, &cluster.installation).await?;
        operator::expect(&objects, &cluster.installation)?;
        World::live(objects)?
    } else {
        World::written(files::objects(&asked.files)?)?
    };
    let answers = authz::answer(&mut world, &Question::from(asked))?;
    let denied = answers
        .iter()
        .any(|answer| answer.verdict == authz::Verdict::Denied);
    Ok(Done {
        text: asked
            .output
            .render(now(), |_| authz::table(&answers), || authz::json(&answers))?,
        verdict: Verdict::finding_if(denied),
    })
}

async fn plan(asked: &PlanArgs, cluster: &ClusterArgs) -> anyhow::Result<Done> {
    let plan = planned(asked, cluster).await?;
    Ok(Done {
        text: asked
            .output
            .render(now(), |_| plan::table(&plan), || plan::json(&plan))?,
        verdict: Verdict::finding_if(!plan.is_empty()),
    })
}

async fn planned(asked: &PlanArgs, cluster: &ClusterArgs) -> anyhow::Result<plan::Plan> {
    let files = files::objects(&asked.files)?;
    let of_objects = asked.namespace.as_deref();
    if !asked.against.is_empty() {
        let against = files::objects(&asked.against)?;
        return plan::written(against, files, of_objects.unwrap_or("default"));
    }
    let client = cluster::connect(cluster).await?;
    expect_namespace(&client, of_objects).await?;
    let there = cluster::policy(&client, &cluster.installation).await?;
    plan::live(there, files, of_objects.unwrap_or(client.default_namespace()))
}

async fn explain(asked: &ExplainArgs, cluster: &ClusterArgs) -> anyhow::Result<Done> {
    let client = cluster::connect(cluster).await?;
    expect_namespace(&client, asked.namespace.as_deref()).await?;
    let explained = explain::answer(&client, &cluster.installation, asked).await?;
    Ok(Done {
        text: asked.output.render(
            now(),
            |view| explain::table(&explained, view),
            || explain::json(&explained),
        )?,
        verdict: Verdict::finding_if(!explained.is_in_force()),
    })
}

async fn why_inject(asked: &WhyArgs, cluster: &ClusterArgs) -> anyhow::Result<Done> {
    let client = cluster::connect(cluster).await?;
    let all = injection::answer(&client, &cluster.installation, asked).await?;
    Ok(Done {
        text: asked.output.render(
            now(),
            |view| injection::table(&all, view),
            || injection::json(&all),
        )?,
        verdict: Verdict::finding_if(all.is_lacking()),
    })
}

async fn proxy_status(asked: &StatusArgs, cluster: &ClusterArgs) -> anyhow::Result<Done> {
    let client = cluster::connect(cluster).await?;
    expect_namespace(&client, asked.namespace.as_deref()).await?;
    let found = fleet::read(&client, asked.namespace.as_deref()).await?;
    let heard = fleet::hear(&client, &cluster.installation).await?;
    let mut proxies = found.proxies(heard.pages);
    let (idle, unseen) = workloads::scaled_to_zero(&client, asked.namespace.as_deref()).await?;
    let missing = [found.unreadable, heard.missing, unseen].concat();
    proxies.retain(|proxy| asked.state.is_empty() || asked.state.contains(&proxy.state));
    Ok(Done {
        text: asked.output.render(
            now(),
            |view| fleet::table(&proxies, &missing, &idle, view),
            || fleet::json(&proxies, &missing, &idle),
        )?,
        verdict: Verdict::finding_if(proxies.iter().any(|proxy| proxy.state != State::Synced)),
    })
}

async fn ca_status(asked: CaStatusArgs, cluster: &ClusterArgs) -> anyhow::Result<Done> {
    let client = cluster::connect(cluster).await?;
    let status = authority::status(client, &cluster.installation).await?;
    Ok(Done {
        text: asked.output.render(now(), |_| status.table(), || status.json())?,
        verdict: Verdict::finding_if(status.health == Health::Unsound),
    })
}

/// Makes sure that a namespace that was named exists.
async fn expect_namespace(client: &Client, namespace: Option<&str>) -> anyhow::Result<()> {
    match namespace {
        Some(namespace) => cluster::expect_namespace(client, namespace).await,
        None => Ok(()),
    }
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |span| span.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts that are read, in this order; the last one stays.
    async fn waited(verdicts: &[check::Verdict], wait: Option<u64>) -> (check::Verdict, u64) {
        let began = Instant::now();
        let mut left = verdicts.iter().copied().peekable();
        let read = async || {
            let verdict = left.next().unwrap();
            if left.peek().is_none() {
                left = verdicts[verdicts.len() - 1..].iter().copied().peekable();
            }
            Ok(vec![check::Finding {
                verdict,
                subject: "operator".to_owned(),
                message: String::new(),
            }])
        };
        let findings = checked(read, wait.map(Duration::from_secs)).await.unwrap();
        (findings[0].verdict, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn without_wait_a_check_reports_what_it_finds_at_once() {
        use check::Verdict::{Failed, Good};
        assert_eq!(waited(&[Failed, Good], None).await, (Failed, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn with_wait_a_check_ends_as_soon_as_nothing_fails() {
        use check::Verdict::{Failed, Good, Notice};
        assert_eq!(waited(&[Good], Some(10)).await, (Good, 0));
        assert_eq!(waited(&[Failed, Failed, Notice], Some(10)).await, (Notice, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn with_wait_a_check_that_goes_on_failing_ends_after_the_time() {
        use check::Verdict::Failed;
        assert_eq!(waited(&[Failed], Some(10)).await, (Failed, 10));
    }
}
