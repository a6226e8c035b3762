//! The model of the mesh: configuration, matching, choice, identities.
