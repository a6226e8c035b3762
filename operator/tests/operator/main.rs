//! The operator from outside: what it is given, and what it is sent.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and what tests share is test code too"
)]

mod charts;
mod corpus;
