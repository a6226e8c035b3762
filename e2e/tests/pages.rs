//! The objects that the documentation shows are taken, and come into force.

#![expect(clippy::panic, reason = "a promise that is not kept fails its test")]

use serde_json::{Value, json};
use smilax_e2e::{Inject, Mesh, Namespace, Object, pages};

/// The whole objects of a page; parts of objects are left out.
fn objects(name: &str, page: &str) -> Vec<Value> {
    let blocks = page
        .split("\n```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next());
    let objects = blocks.flat_map(|block| {
        serde_saphyr::from_multiple::<Value>(block).unwrap_or_else(|error| panic!("{name}: {error}"))
    });
    objects.filter(|object| object["kind"].is_string()).collect()
}

/// The same in the namespace `to`, instead of the one that the page has it in.
fn moved(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                if key == "namespace" && field == from {
                    *field = json!(to);
                }
                moved(field, from, to);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| moved(item, from, to)),
        _ => {}
    }
}

#[test]
fn the_objects_of_every_page_are_accepted() {
    let mesh = Mesh::connect();
    let mut tried = 0;
    for (name, page) in pages::all().expect("the pages can be read") {
        let objects = objects(&name, &page);
        if objects.is_empty() {
            continue;
        }
        let namespace = Namespace::fresh(&mesh, "pages", Inject::NotAsked);
        let mut applied = Vec::new();
        for mut object in objects {
            tried += 1;
            let ours = object["metadata"]["namespace"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            moved(&mut object, &ours, namespace.name());
            let of_smi = object["apiVersion"]
                .as_str()
                .is_some_and(|version| version.contains("smi-spec.io"));
            if of_smi {
                applied.push(namespace.apply(Object(object)));
            } else {
                // What concerns the whole cluster is not changed by a page.
                let taken = namespace
                    .kubectl()
                    .feed(&["apply", "--dry-run=server", "--filename=-"], &object);
                taken.unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
        for object in applied {
            namespace.await_condition(&object, "Accepted", "True", "Accepted");
        }
    }
    assert!(tried > 8, "only {tried} objects were found");
}
