//! The pod that talks: a server that says who answered, and a load client that counts what came back.
//!
//! The end-to-end tests run it in scratch images. As a library it gives them the types of what it prints.

pub mod answer;
pub mod args;
pub mod client;
pub mod fault;
pub mod fetch;
pub mod grpc;
pub mod load;
pub mod serve;
