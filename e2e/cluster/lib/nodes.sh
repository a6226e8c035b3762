# shellcheck shell=bash
# Nodes. A node is one process tree in its own network, mount, PID, UTS and IPC namespaces, whose first process is
# lib/node-init. When that process or its parent ends, all of the node ends.

cgroup_hierarchies() {
  local directory
  if [[ -e /sys/fs/cgroup/cgroup.procs ]]; then
    echo /sys/fs/cgroup
  else
    for directory in /sys/fs/cgroup/*/; do [[ -e ${directory}cgroup.procs ]] && echo "${directory%/}"; done
  fi
}

make_cgroups() {
  local hierarchy file
  for hierarchy in $(cgroup_hierarchies); do
    mkdir -p "$hierarchy/$NAME-$1"
    # A new cpuset of cgroup v1 is empty, and nothing runs in it.
    for file in cpuset.cpus cpuset.mems; do
      [[ ${hierarchy##*/} != cpuset ]] || cat "$hierarchy/$file" >"$hierarchy/$NAME-$1/$file"
    done
  done
}

existing_cgroups() {
  local hierarchy
  for hierarchy in $(cgroup_hierarchies); do
    find "$hierarchy" -maxdepth 1 -type d -regextype posix-extended -regex ".*/$NAME-node[0-9]+"
  done
}

try_delete_cgroups() {
  local group
  for group in $(existing_cgroups); do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
  [[ -z $(existing_cgroups) ]]
}

write_containerd_config() {
  cat >"$1" <<'TOML'
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Where the shell lacks CAP_SYS_RESOURCE, runc may not lower a process's score and would die.
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
TOML
}

# Pods are joined to their node by routes, not by a bridge: on a bridge, answers between two pods of one node would
# bypass the translation back from a ClusterIP wherever the kernel lacks br_netfilter.
write_cni_config() {
  cat >"$1" <<JSON
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "cni-pods",
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "$(pod_subnet "$2")"}], [{"subnet": "$(pod_subnet6 "$2")"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
}

write_kubelet_config() {
  cat >"$1" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $(node_ip "$2")
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $STATE/pki/ca.crt}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$NAME-node$2
failCgroupV1: false
clusterDNS: [$CLUSTER_DNS]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
failSwapOn: false
oomScoreAdj: 0
# How soon a changed ConfigMap arrives in a pod.
syncFrequency: $KUBELET_SYNC
serializeImagePulls: false
# A full disk must not evict the pods of a test, and an image once loaded must stay: nothing can be pulled again.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 0%, imagefs.available: 0%}
YAML
}

# start_node N: starts containerd there and imports the images. The kubelet follows after release_nodes.
start_node() {
  local node=node$1
  local directory=$STATE/$node
  write_containerd_config "$directory/containerd.toml"
  write_cni_config "$directory/cni.conflist" "$1"
  # Copies, because both are read while the node lives.
  cp "$HERE/lib/cni-pods" "$HERE/lib/node-init" "$directory/"
  write_kubelet_config "$directory/kubelet.yaml" "$1"
  make_cgroups "$node"
  start_process "$node" "$node" \
    env NODE="$node" NODE_IPS="$(node_ip "$1"),$(node_ip6 "$1")" POD_RANGES="$POD_RANGE,$POD_RANGE6" \
    STATE="$STATE" BIN="$BIN" \
    unshare --mount --uts --ipc --pid --fork --kill-child=SIGKILL --mount-proc bash "$directory/node-init"
}

# The kubelets start when the API server answers: one that comes too early waits up to 7 s before it tries again.
release_nodes() { touch "$STATE/run/api-ready"; }

# in_node NODE COMMAND...: runs the command in all of the node's namespaces.
in_node() {
  local pid
  pid=$(pid_of "$1" "$1") || die "node $1 of cluster $NAME does not run (its nodes: $(seq -s ' ' -f 'node%g' "$NODES"))"
  nsenter --target "$pid" --mount --uts --ipc --net --pid="/proc/$pid/ns/pid_for_children" "${@:2}"
}

# in_every_node COMMAND...: in all nodes at once; fails when it fails in one of them.
in_every_node() {
  local node jobs=() job failed=0
  for ((node = 1; node <= NODES; node++)); do
    in_node "node$node" "$@" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  return $failed
}

# restart_in_node NODE PART: kills kubelet, containerd or kube-proxy there; node-init starts it again.
restart_in_node() {
  local before
  before=$(in_node "$1" cat "/run/smilax-node/$2.pid")
  in_node "$1" kill -KILL "$before"
  until_true 20 restarted "$1" "$2" "$before" || die "$2 of $1 did not start again"
}

# restart_kubelet NODE: returns when it has learned which pods are its own; before that it knows no pod, to exec in or to log.
restart_kubelet() {
  restart_in_node "$1" kubelet
  until_true 60 kubelet_knows_its_pods "$1" || die_with_log "kubelet of $1 does not know its pods after 60 s" "$LOGS/kubelet-$1.log"
}

# The link goes down at the bridge's side, since the node would lose its routes with its own side. A signal to -1 reaches
# every process of the node but its first one, which only waits, and the one that sends it.
power_off() {
  ip -netns "$NAME-fabric" link set "$NAME-$1" down
  in_node "$1" bash -c 'kill -STOP -1'
}

power_on() {
  in_node "$1" bash -c 'kill -CONT -1'
  ip -netns "$NAME-fabric" link set "$NAME-$1" up
}

kubelet_knows_its_pods() {
  local known uid
  known=$(kubectl get --raw "/api/v1/nodes/$1/proxy/pods") || return 1
  for uid in $(kubectl get pods --all-namespaces --field-selector "spec.nodeName=$1,status.phase=Running" -o 'jsonpath={.items[*].metadata.uid}'); do
    [[ $known == *"$uid"* ]] || return 1
  done
}

restarted() {
  local now
  now=$(in_node "$1" cat "/run/smilax-node/$2.pid") && [[ $now != "$3" ]] && in_node "$1" kill -0 "$now"
}

# node_part_runs NODE PART
node_part_runs() { in_node "$1" bash -c "kill -0 \$(cat /run/smilax-node/$2.pid)" >/dev/null 2>&1; }

NODE_PARTS=(containerd kube-proxy kubelet)
