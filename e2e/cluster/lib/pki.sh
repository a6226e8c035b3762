# shellcheck shell=bash
# Certificates and kubeconfigs, all made by kubeadm. No step of it needs systemd.

make_kubeadm_config() {
  cat >"$STATE/kubeadm.yaml" <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: $NAME
kubernetesVersion: v$KUBERNETES_VERSION
certificatesDir: $STATE/pki
controlPlaneEndpoint: $CONTROL_IP:6443
encryptionAlgorithm: ECDSA-P256
networking:
  serviceSubnet: $SERVICE_RANGE,$SERVICE_RANGE6
  podSubnet: $POD_RANGE,$POD_RANGE6
  dnsDomain: cluster.local
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: $CONTROL_IP
  bindPort: 6443
nodeRegistration:
  name: control
YAML
}

# kubeadm looks at the interfaces that it sees, so it runs beside the API server.
kubeadm() { in_namespace control "$BIN/kubeadm" "$@" --config "$STATE/kubeadm.yaml"; }

# make_client FILE USER [GROUP]: a kubeconfig for one user.
make_client() { kubeadm kubeconfig user --client-name "$2" ${3:+--org "$3"} >"$1" 2>>"$LOGS/kubeadm.log"; }

make_pki() {
  local node jobs=() job
  umask 077
  make_kubeadm_config
  kubeadm init phase certs all >"$LOGS/kubeadm.log" 2>&1 || die_with_log "kubeadm could not make certificates" "$LOGS/kubeadm.log"
  kubeadm init phase kubeconfig all --kubeconfig-dir "$STATE" >>"$LOGS/kubeadm.log" 2>&1 &
  jobs+=($!)
  for ((node = 1; node <= NODES; node++)); do
    make_client "$STATE/node$node/kubelet.conf" "system:node:node$node" system:nodes &
    jobs+=($!)
  done
  make_client "$STATE/kube-proxy.conf" system:kube-proxy &
  jobs+=($!)
  for job in "${jobs[@]}"; do
    wait "$job" || die_with_log "kubeadm could not make kubeconfigs" "$LOGS/kubeadm.log"
  done
  cp "$STATE/admin.conf" "$KUBECONFIG_FILE"
  umask 022
}
