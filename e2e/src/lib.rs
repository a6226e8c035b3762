//! Promises to users, kept on a real Kubernetes.
