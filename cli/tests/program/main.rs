//! The program as somebody runs it, against an API server that answers what a test wants.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod before;
mod complete;
mod conventions;
mod rights;
mod shell;
mod support;
mod verbs;
mod why;
