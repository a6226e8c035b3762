# shellcheck shell=bash
# What a cluster is: its name, where its state lies, and the settings that it was started with.

NAME=${NAME:-smilax}
STATE_ROOT=${SMILAX_STATE:-/var/lib/smilax-e2e}
CACHE=${SMILAX_CACHE:-${HOME:-/root}/.cache/smilax}

# Interface names hold at most 15 bytes, and the longest of ours is NAME-node15.
[[ $NAME =~ ^[a-z][a-z0-9]{0,7}$ ]] ||
  die "NAME=$NAME: a cluster's name is 1 to 8 lower-case letters and digits, and begins with a letter"
[[ $STATE_ROOT == /* ]] || die "SMILAX_STATE=$STATE_ROOT must be an absolute path"
[[ $CACHE == /* ]] || die "SMILAX_CACHE=$CACHE must be an absolute path"

STATE=$STATE_ROOT/$NAME
LOGS=$STATE/log
KUBECONFIG_FILE=$STATE/kubeconfig
SETTINGS_FILE=$STATE/settings

# What the caller asks for by name; the rest is only a default.
ASKED=()
for setting in NODES KUBERNETES_VERSION KUBELET_SYNC; do
  [[ -z ${!setting:-} ]] || ASKED+=("$setting=${!setting}")
done

# The settings that are fixed while a cluster lives. `load_settings` replaces them by those of the existing cluster.
NODES=${NODES:-2}
KUBERNETES_VERSION=${KUBERNETES_VERSION:-1.34.4}
KUBELET_SYNC=${KUBELET_SYNC:-2s}
INDEX=
BIN=

check_settings() {
  [[ $NODES =~ ^([1-9]|1[0-5])$ ]] || die "NODES=$NODES: between 1 and 15 are possible"
  [[ $KUBELET_SYNC =~ ^[0-9]+(ms|s|m)$ ]] || die "KUBELET_SYNC=$KUBELET_SYNC: a duration such as 2s or 1m is needed"
}

has_settings() { [[ -s $SETTINGS_FILE ]]; }

save_settings() {
  local key
  for key in INDEX NODES KUBERNETES_VERSION KUBELET_SYNC BIN; do
    printf '%s=%q\n' "$key" "${!key}"
  done >"$SETTINGS_FILE.new"
  mv "$SETTINGS_FILE.new" "$SETTINGS_FILE"
}

load_settings() {
  has_settings || die "there is no cluster $NAME (no $SETTINGS_FILE): run 'cluster up' first"
  # shellcheck source=/dev/null
  source "$SETTINGS_FILE"
  derive_addresses
}

# differing_settings: one line for each setting that the caller asks for and the cluster has otherwise.
differing_settings() {
  local asked key
  for asked in "${ASKED[@]}"; do
    key=${asked%%=*}
    [[ $asked == "$key=${!key}" ]] || echo "$key=${!key}, not $asked"
  done
}

# require_root ARGUMENTS...: otherwise says what to run, and which packages it would miss.
require_root() {
  ((EUID == 0)) && return
  local install
  install=$(install_command)
  [[ -z $install ]] || say "cluster: Debian packages are missing: run 'sudo $install'"
  die "network and mount namespaces need root: run 'sudo -E $0 $*'"
}

# with_lock FILE COMMAND...: runs the command while no other one holds the lock. The descriptor is closed for the
# command, so that programs it starts do not inherit the lock: it ends with this shell, even when this shell is killed.
with_lock() {
  local file=$1
  shift
  mkdir -p "$(dirname "$file")"
  exec 9>"$file"
  if ! flock --nonblock 9; then
    say "another cluster command holds $file: waiting for it"
    flock --timeout 600 9 || die "gave up waiting for $file after 10 minutes"
  fi
  "$@" 9>&-
  exec 9>&-
}
