//! S34: headers whose names an application takes for others.

use smilax_core::config::Protocol;

use super::access::{allowing, header, method};
use crate::access::DECISIONS;
use crate::support::client::exchange;
use crate::support::mesh::Mesh;
use crate::support::server::Server;

#[tokio::test]
async fn s34_another_spelling_of_a_header_that_rules_read_is_refused() {
    let mesh = Mesh::new();
    let app = Server::mirror(mesh.app(1)).await;
    let web = allowing(&mesh, vec![header("x-role", "^(?:reader)$")]);
    let client = mesh.client(Protocol::Http);
    let ask = async |headers: &str| {
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}connection: close\r\n\r\n");
        exchange(client.outbound_address(), request.as_bytes()).await
    };
    for headers in [
        "x_role: reader\r\n",
        "x-role: reader\r\nx_role: admin\r\n",
        "X_Role: admin\r\nX-Role: reader\r\n",
        "x-role: reader\r\nx.role: admin\r\n",
    ] {
        let answer = ask(headers).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers:?}: {answer}");
        assert!(answer.contains("the header x-role is spelled"), "{answer}");
    }
    assert_eq!(app.requests(), 0);
    web.counts(DECISIONS, &["reason=\"ambiguous_header\""], 4).await;
    // Others pass untouched, however they are spelled.
    let answer = ask("x-role: reader\r\nx_user: a\r\nx-user: b\r\n").await;
    assert!(
        answer.contains("x_user: a\n") && answer.contains("x-user: b\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn s34_where_no_rule_reads_a_header_every_spelling_of_it_passes() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let _web = allowing(&mesh, vec![method("GET")]);
    let client = mesh.client(Protocol::Http);
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nx-role: a\r\nx_role: b\r\nconnection: close\r\n\r\n";
    let answer = exchange(client.outbound_address(), request).await;
    assert!(
        answer.contains("x-role: a\n") && answer.contains("x_role: b\n"),
        "{answer}"
    );
}
