//! What the documentation tells people to type works, from the top of each page to its bottom.

use smilax_e2e::desk::{Desk, Installation};
use smilax_e2e::{Mesh, pages};

#[test]
fn every_command_of_every_page_works_in_the_order_of_the_page() {
    let mesh = Mesh::connect();
    let mut failed = Vec::new();
    let mut last = None;
    let mut installation = Installation::Changed;
    for (name, page) in pages::all().unwrap() {
        let steps = pages::steps(&page).unwrap();
        if steps.is_empty() {
            continue;
        }
        let began = std::time::Instant::now();
        let outcome = Desk::fresh(&mesh, &name, installation).and_then(|desk| {
            let desk = last.insert(desk);
            let done = steps.iter().try_for_each(|step| {
                desk.take(step)
                    .map_err(|error| format!("line {}: {error}", step.line))
            });
            desk.adopt().and(done)
        });
        eprintln!(
            "{name}: {} blocks in {} s",
            steps.len(),
            began.elapsed().as_secs()
        );
        installation = Installation::after(&steps);
        failed.extend(outcome.err().map(|error| format!("{name}, {error}")));
    }
    failed.extend(last.and_then(|desk| desk.leave().err()));
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
