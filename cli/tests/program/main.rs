//! The program as somebody runs it, against an API server that answers what a test wants.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod before;
mod complete;
mod rights;
mod support;
mod verbs;
mod why;
