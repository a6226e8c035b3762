//! A small server and load client that the end-to-end tests run in pods.

fn main() {}
