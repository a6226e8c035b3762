mod hub;
mod session;
