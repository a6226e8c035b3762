//! API types of every SMI version, conversions and generated manifests.
