# shellcheck shell=bash
# A cluster from nothing to Ready, and back to nothing.

up() {
  local wanted=("$NODES" "$KUBERNETES_VERSION" "$KUBELET_SYNC") found different
  check_settings
  build
  local built=$BIN
  if has_settings; then
    load_settings
    found=$(problems)
    if [[ -z $found ]]; then
      different=$(differing_settings)
      [[ -z $different ]] || die "cluster $NAME runs with ${different//$'\n'/; }: run 'cluster down' first"
      [[ $BIN == "$built" ]] || warn "cluster $NAME runs with binaries of an earlier build"
      step "cluster $NAME is up already, and well"
      echo "$KUBECONFIG_FILE"
      return
    fi
    step "cluster $NAME is not whole (${found//$'\n'/, }): clearing it"
  fi
  clear_cluster
  NODES=${wanted[0]} KUBERNETES_VERSION=${wanted[1]} KUBELET_SYNC=${wanted[2]} BIN=$built
  start_cluster
  step "cluster $NAME is Ready"
  echo "$KUBECONFIG_FILE"
}

start_cluster() {
  local node
  with_lock "$STATE_ROOT/.lock" claim_addresses
  mkdir -p "$LOGS" "$STATE/run" "$STATE/pki" "$STATE/etcd"
  for ((node = 1; node <= NODES; node++)); do mkdir -p "$STATE/node$node"/{kubelet,containerd,pods}; done
  step "network: fabric $FABRIC.0/24, pods $POD_RANGE, Services $SERVICE_RANGE, and IPv6"
  make_network
  start_etcd
  step "certificates"
  make_pki
  step "control plane and containerd"
  await_etcd
  start_apiserver
  for ((node = 1; node <= NODES; node++)); do start_node "$node"; done
  await_apiserver
  start_controllers
  release_nodes
  step "API server is ready: nodes, CoreDNS"
  apply_base
  # One by one: of several objects that do not exist yet, kubectl does not wait for the first.
  for ((node = 1; node <= NODES; node++)); do
    { kubectl wait "node/node$node" --for=create --timeout=60s && kubectl wait "node/node$node" --for=condition=Ready --timeout=60s; } >>"$LOGS/base.log" 2>&1 ||
      die_with_log "node$node is not Ready after 60 s: $(tail -n 1 "$LOGS/base.log")" "$LOGS/kubelet-node$node.log"
  done
  step "nodes are Ready"
  await_dns
  # The first pod of a namespace needs its account.
  kubectl wait serviceaccount/default --for=create --timeout=30s >>"$LOGS/base.log" 2>&1 ||
    die_with_log "there is no ServiceAccount default after 30 s" "$LOGS/controller-manager.log"
}

claim_addresses() {
  choose_index
  mkdir -p "$STATE"
  save_settings
}

down() {
  local existed=""
  [[ -e $STATE || -n $(existing_namespaces) ]] && existed=1
  if has_settings; then load_settings; fi
  clear_cluster
  if [[ -n $existed ]]; then step "cluster $NAME is gone"; else step "there was no cluster $NAME"; fi
}

# Everything that ever belonged to a cluster of this name, found by what it is and not by what a file says of it, so
# that a start that was killed at any point is cleared too.
clear_cluster() {
  until_true 15 no_processes || die "processes of cluster $NAME do not end: $(cluster_processes | tr '\n' ' ')"
  delete_network
  if [[ -n $INDEX ]]; then delete_host_routes; fi
  until_true 15 try_delete_cgroups || die "cannot remove $(existing_cgroups | tr '\n' ' ')"
  [[ -e $STATE ]] || return 0
  # None are expected on the host. Removing files through a mount would be worse than failing.
  awk -v state="$STATE/" 'index($5, state) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r umount
  rm -rf --one-file-system "$STATE"
}

cluster_processes() {
  local existing
  for existing in $(existing_namespaces); do ip netns pids "$existing"; done
  for existing in $(existing_cgroups); do find "$existing" -name cgroup.procs -exec cat {} + 2>/dev/null; done
}

# Kills what still runs; true when nothing does.
no_processes() {
  local processes
  processes=$(cluster_processes | sort -un)
  [[ -z $processes ]] && return
  # shellcheck disable=SC2086 # a list of numbers
  kill -KILL $processes 2>/dev/null || true
  return 1
}
