//! Kubernetes objects in, proxy configuration and diagnostics out.
