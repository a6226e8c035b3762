//! A pod's proxy, as far as it talks to the operator.

use std::sync::Arc;
use std::time::Duration;

use smilax_core::Resource;
use smilax_proxy::control::{Control, reload};
use smilax_proxy::identity::renewal;
use smilax_proxy::log::Level;
use smilax_proxy::metrics::Metrics;
use smilax_proxy::operator_connection::stream;
use smilax_proxy::settings::{self, ConfigLocation, IdentitySource, Settings};
use smilax_proxy::worker::Shared;

use crate::cluster::port;
use crate::network::Service;
use crate::world::World;

/// How often workers say what they use.
const SAY_USES: Duration = Duration::from_secs(30);

/// Runs a proxy until it is killed.
pub(crate) async fn run(world: Arc<World>, number: usize) -> turmoil::Result {
    let folder = world.with(|inner| inner.pods[number].folder.clone());
    let settings = Settings {
        config: ConfigLocation::Directory(folder.join("mount")),
        state_directory: Some(folder.join("state")),
        identity: IdentitySource::Operator {
            token: folder.join("token"),
        },
        pod: settings::Pod {
            name: format!("pod-{number}"),
            ..settings::Pod::default()
        },
        ..Settings::default()
    };
    let metrics = Metrics::new(&settings)?;
    let shared = Arc::new(Shared::new(settings, metrics));
    let control = Arc::new(Control::new(shared, Level::fixed()));
    let mut changes = control.shared.changes.watch();
    reload::begin(&control);
    world.with(|inner| inner.pods[number].control = Some(Arc::clone(&control)));
    world.observe(now(), number);
    let network = || Service(Arc::clone(&world));
    tokio::task::spawn_local(renewal::renew_forever(Arc::clone(&control), network()));
    tokio::task::spawn_local(stream::stay_connected(Arc::clone(&control), network()));
    let mut saying = tokio::time::interval(SAY_USES);
    loop {
        tokio::select! {
            biased;
            told = changes.changed() => {
                told?;
                world.observe(now(), number);
            }
            _ = saying.tick() => say_uses(&world, number),
        }
    }
}

/// The pod's workers say what they use.
pub(crate) fn say_uses(world: &World, number: usize) {
    let pod = world.with(|inner| inner.pods[number].clone());
    if let Some(control) = pod.control {
        let uses = pod.uses.iter().map(|&service| Resource::Endpoints(port(service)));
        control.shared.wanted.say(uses.collect());
    }
}

/// The files of the pod have changed.
pub(crate) fn look_again(world: &World, at: Duration, number: usize) {
    let control = world.with(|inner| inner.pods[number].control.clone());
    if let Some(control) = control {
        reload::again(&control);
        world.observe(at, number);
    }
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
