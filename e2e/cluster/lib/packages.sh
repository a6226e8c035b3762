# shellcheck shell=bash
# What the machine must bring: Debian packages, and Go.

# A command or file that proves the package, and the package.
NEEDED_PACKAGES=(
  containerd:containerd
  runc:runc
  /usr/lib/cni/ptp:containernetworking-plugins
  buildah:buildah
  ip:iproute2
  iptables:iptables
  conntrack:conntrack
  nsenter:util-linux
  mount:mount
  ps:procps
)
# CoreDNS asks for this version.
NEEDED_GO_MINOR=25

missing_packages() {
  local pair proof
  for pair in "${NEEDED_PACKAGES[@]}"; do
    proof=${pair%%:*}
    if [[ $proof == /* ]]; then
      [[ -e $proof ]] || echo "${pair#*:}"
    else
      command -v "$proof" >/dev/null || echo "${pair#*:}"
    fi
  done
}

check_go() {
  local version
  command -v go >/dev/null || die "go is missing: install Go 1.$NEEDED_GO_MINOR or later and put it on PATH"
  version=$(go env GOVERSION)
  if [[ ! $version =~ ^go1\.([0-9]+) ]] || ((BASH_REMATCH[1] < NEEDED_GO_MINOR)); then
    die "$version is too old: Go 1.$NEEDED_GO_MINOR or later is needed"
  fi
}

# install_command: what installs the packages that are missing; nothing when none is.
install_command() {
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} == 0)) || echo "apt-get install --yes --no-install-recommends ${missing[*]}"
}

# Installs what is missing.
need() {
  local install log
  check_go
  install=$(install_command)
  [[ -n $install ]] || return 0
  command -v apt-get >/dev/null || die "this machine has no apt-get; these Debian packages, or what they hold, are missing: $(missing_packages | tr '\n' ' ')"
  step "$install"
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  if ! $install >"$log" 2>&1; then
    # The lists of packages may be absent or old.
    { apt-get update && $install; } >"$log" 2>&1 || die_with_log "could not install packages; run: $install" "$log"
  fi
  rm -f "$log"
  [[ -z $(missing_packages) ]] || die "still missing after installation: $(missing_packages | tr '\n' ' ')"
}
