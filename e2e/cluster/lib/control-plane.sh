# shellcheck shell=bash
# etcd, API server, controller manager and scheduler: plain processes in the network namespace `control`.

CONTROL_PARTS=(etcd apiserver controller-manager scheduler)

# start_process PART NAMESPACE COMMAND...: in the background, in a session of its own; its output goes to its log.
start_process() {
  local part=$1 where=$2
  shift 2
  setsid nsenter --net="$(namespace "$where")" "$@" >>"$LOGS/$part.log" 2>&1 </dev/null &
  echo $! >"$STATE/run/$part.pid"
  disown
}

# pid_of PART NAMESPACE: its process id, if that process lives and is ours: a number may have been given out again.
pid_of() {
  local pid
  pid=$(cat "$STATE/run/$1.pid" 2>/dev/null) || return 1
  [[ -n $pid && "/proc/$pid/ns/net" -ef $(namespace "$2") ]] || return 1
  echo "$pid"
}

start_etcd() {
  start_process etcd control "$BIN/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
}

# A client of etcd that comes too early waits a second before it tries again.
await_etcd() {
  until_true 30 in_namespace control bash -c ': </dev/tcp/127.0.0.1/2379' || die_with_log "etcd does not listen after 30 s" "$LOGS/etcd.log"
}

start_apiserver() {
  local pki=$STATE/pki
  # shellcheck disable=SC2054 # the commas are in values
  local arguments=(
    --advertise-address="$CONTROL_IP" --secure-port=6443
    --etcd-servers=http://127.0.0.1:2379
    --service-cluster-ip-range="$SERVICE_RANGE,$SERVICE_RANGE6"
    --client-ca-file="$pki/ca.crt"
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
    --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt"
    --kubelet-client-key="$pki/apiserver-kubelet-client.key"
    --kubelet-preferred-address-types=InternalIP
    # Webhooks and aggregated APIs are reached by endpoint address: there is no kube-proxy beside the API server.
    --enable-aggregator-routing=true
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key"
    --service-account-issuer=https://kubernetes.default.svc.cluster.local
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt"
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
    --requestheader-allowed-names=front-proxy-client
    --requestheader-extra-headers-prefix=X-Remote-Extra-
    --requestheader-group-headers=X-Remote-Group
    --requestheader-username-headers=X-Remote-User
  )
  start_process apiserver control "$BIN/kube-apiserver" "${arguments[@]}"
}

# The usual limits on requests would make the start of the many controllers take several seconds more.
start_controllers() {
  local config=$STATE/controller-manager.conf limits="--kube-api-qps=200 --kube-api-burst=400"
  # shellcheck disable=SC2086 # limits is a list of words
  start_process controller-manager control "$BIN/kube-controller-manager" \
    --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config" \
    --service-account-private-key-file="$STATE/pki/sa.key" --root-ca-file="$STATE/pki/ca.crt" \
    --cluster-signing-cert-file="$STATE/pki/ca.crt" --cluster-signing-key-file="$STATE/pki/ca.key" \
    --use-service-account-credentials --leader-elect=false $limits
  config=$STATE/scheduler.conf
  # shellcheck disable=SC2086
  start_process scheduler control "$BIN/kube-scheduler" \
    --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config" \
    --leader-elect=false $limits
}

# The administrator of everything, who needs no RBAC rules: these do not exist yet when the cluster starts.
kubectl() { "$BIN/kubectl" --kubeconfig "$STATE/super-admin.conf" "$@"; }

apiserver_answers() { kubectl get --raw /readyz --request-timeout 2s; }

await_apiserver() {
  local tries=600
  until apiserver_answers >/dev/null 2>&1; do
    pid_of apiserver control >/dev/null || die_with_log "the API server ended" "$LOGS/apiserver.log"
    pid_of etcd control >/dev/null || die_with_log "etcd ended" "$LOGS/etcd.log"
    ((tries-- > 0)) || die_with_log "the API server is not ready after 60 s" "$LOGS/apiserver.log"
    sleep 0.1
  done
}

# Ends the API server without any grace, as a crash would.
stop_apiserver() {
  local pid
  pid=$(pid_of apiserver control) || return 0
  kill -KILL "$pid"
  until_true 10 process_gone "$pid" || die "the API server (process $pid) does not end"
}

process_gone() { ! kill -0 "$1" 2>/dev/null; }
