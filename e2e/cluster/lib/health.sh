# shellcheck shell=bash
# Is the cluster well?

# problems: one line for each thing that is wrong; nothing when all is well.
problems() {
  local part node condition
  has_settings || {
    echo "there is no cluster"
    return
  }
  [[ -s $KUBECONFIG_FILE ]] || echo "it was never finished: it has no kubeconfig"
  for part in "${CONTROL_PARTS[@]}"; do
    pid_of "$part" control >/dev/null || echo "$part does not run"
  done
  for ((node = 1; node <= NODES; node++)); do
    if ! pid_of "node$node" "node$node" >/dev/null; then
      echo "node$node does not run"
      continue
    fi
    for part in "${NODE_PARTS[@]}"; do
      node_part_runs "node$node" "$part" || echo "$part of node$node does not run"
    done
  done
  apiserver_answers >/dev/null 2>&1 || {
    echo "the API server does not answer"
    return
  }
  for ((node = 1; node <= NODES; node++)); do
    condition=$(kubectl get node "node$node" --ignore-not-found -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
    [[ $condition == True ]] || echo "node$node is not Ready"
  done
  [[ $(kubectl -n kube-system get deployment coredns --ignore-not-found -o 'jsonpath={.status.availableReplicas}') -ge 1 ]] ||
    echo "CoreDNS is not available"
}

# process_line PART PID
process_line() {
  awk -v part="$1" -v pid="$2" '/^VmRSS:/ { printf "  %-20s pid %-8s %5d MiB\n", part, pid, $2 / 1024 }' "/proc/$2/status"
}

show_status() {
  local part node pid found
  has_settings || {
    echo "cluster $NAME: there is none"
    exit 1
  }
  load_settings
  echo "cluster $NAME: Kubernetes $KUBERNETES_VERSION, $NODES nodes, kubelet syncs every $KUBELET_SYNC"
  echo "  kubeconfig $KUBECONFIG_FILE"
  echo "  addresses  fabric $FABRIC.0/24, pods $POD_RANGE $POD_RANGE6, Services $SERVICE_RANGE $SERVICE_RANGE6"
  echo "  versions   $("$BIN/etcd" --version | sed -n 's/^etcd Version: /etcd /p'), $("$BIN/coredns" -version | sed -n 1p), $(containerd --version | awk '{print $1, $3}'), $(runc --version | sed -n 1p), helm $("$BIN/helm" version --short)"
  for part in "${CONTROL_PARTS[@]}"; do
    if pid=$(pid_of "$part" control); then process_line "$part" "$pid"; else echo "  $part does not run"; fi
  done
  for ((node = 1; node <= NODES; node++)); do
    for part in "${NODE_PARTS[@]}"; do
      # The name in /proc is cut off at 15 bytes.
      if pid_of "node$node" "node$node" >/dev/null && found=$(in_node "node$node" bash -c "awk '/^VmRSS:/ { print int(\$2 / 1024) }' /proc/\$(cat /run/smilax-node/$part.pid)/status" 2>/dev/null); then
        printf '  %-20s %16s MiB\n' "node$node: $part" "$found"
      else
        echo "  node$node: $part does not run"
      fi
    done
  done
  apiserver_answers >/dev/null 2>&1 && kubectl get nodes,pods --all-namespaces -o wide
  found=$(problems)
  if [[ -z $found ]]; then
    echo "all is well"
  else
    printf '%s\n' "$found" | sed 's/^/problem: /'
    exit 1
  fi
}
