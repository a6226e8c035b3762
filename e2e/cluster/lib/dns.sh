# shellcheck shell=bash
# What a cluster needs inside itself: rights of the administrator, and CoreDNS.

apply_base() {
  sed "s/@CLUSTER_DNS@/$CLUSTER_DNS/" "$HERE/manifests/base.yaml" >"$STATE/base.yaml"
  kubectl apply --server-side -f "$STATE/base.yaml" >"$LOGS/base.log" 2>&1 ||
    die_with_log "could not apply manifests/base.yaml" "$LOGS/base.log"
}

await_dns() {
  kubectl -n kube-system rollout status deployment/coredns --timeout=60s >>"$LOGS/base.log" 2>&1 ||
    die_with_log "CoreDNS is not ready after 60 s; see 'cluster kubectl -n kube-system describe pods'" "$LOGS/base.log"
}
