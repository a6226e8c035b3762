# shellcheck shell=bash
# The programs of a cluster, built from Go modules into a cache keyed by content: a part is built anew only when
# its go.mod, go.sum, sources, flags or the Go version changed.

KUBERNETES_SOURCES=kubernetes-${KUBERNETES_VERSION%.*}
GO_FLAGS="-trimpath -buildvcs=false -mod=readonly"

# module_version SOURCES MODULE: the version that the part's go.mod requires, without the v.
module_version() { awk -v module="$2" '$1 == "require" { $0 = substr($0, 9) } $1 == module { print substr($2, 2); exit }' "$HERE/src/$1/go.mod"; }

check_kubernetes_version() {
  local all=() sources version
  for sources in "$HERE"/src/kubernetes-*; do
    version=$(module_version "${sources##*/}" k8s.io/kubernetes)
    [[ $KUBERNETES_VERSION != "$version" ]] || return 0
    all+=("$version")
  done
  die "KUBERNETES_VERSION=$KUBERNETES_VERSION: this tool can build ${all[*]}"
}

ld_flags() {
  local major=${KUBERNETES_VERSION%%.*} minor=${KUBERNETES_VERSION#*.}
  minor=${minor%%.*}
  case $1 in
    kubernetes*)
      # Without these the API server calls itself v0.0.0, and clients that look at the version misjudge it.
      local version=k8s.io/component-base/version
      echo "-s -w -X $version.gitVersion=v$KUBERNETES_VERSION -X $version.gitMajor=$major -X $version.gitMinor=$minor"
      ;;
    helm)
      local lint=helm.sh/helm/v3/pkg/lint/rules capabilities=helm.sh/helm/v3/pkg/chartutil
      echo "-s -w -X helm.sh/helm/v3/internal/version.version=v$(module_version helm helm.sh/helm/v3)" \
        "-X $lint.k8sVersionMajor=1 -X $lint.k8sVersionMinor=34 -X $capabilities.k8sVersionMajor=1 -X $capabilities.k8sVersionMinor=34"
      ;;
    *) echo "-s -w" ;;
  esac
}

content_hash() { sha256sum | cut -c1-16; }

# part_dir SOURCES: where this part's programs lie, once they are built.
part_dir() {
  local hash
  hash=$({ go env GOVERSION GOARCH; echo "$GO_FLAGS"; ld_flags "$1"; cat "$HERE/src/$1"/*; } | content_hash)
  echo "$CACHE/parts/$1-$hash"
}

images_dir() {
  local hash
  hash=$({ part_dir pause; part_dir coredns; cat "$HERE/src/program.Dockerfile" "$REPOSITORY/images/archive"; } | sed "s|$CACHE||" | content_hash)
  echo "$CACHE/parts/images-$hash"
}

# wait_and_report PID WHAT COUNTED_FILE: a line every 10 s while a long build runs.
wait_and_report() {
  local ticks=0
  while kill -0 "$1" 2>/dev/null; do
    sleep 0.5
    ((++ticks % 20)) || step "  $2: going on, $(wc -l <"$3") packages compiled"
  done
  wait "$1"
}

# build_part SOURCES PACKAGE [PROGRAM]: PACKAGE is what `go build` is asked for; PROGRAM is the file's name, when
# it is one program whose package has another name.
build_part() {
  local sources=$1 package=$2 program=${3:-} dir partial
  dir=$(part_dir "$sources")
  [[ -d $dir ]] && return
  step "building $sources"
  partial=$CACHE/parts/.$sources.$$
  # Of builds that were killed. One that goes on without its parent fails when its folder is gone.
  rm -rf "$CACHE/parts/.$sources".*
  mkdir -p "$partial"
  (
    cd "$HERE/src/$sources" || exit
    # shellcheck disable=SC2086 # GO_FLAGS is a list of words
    exec env CGO_ENABLED=0 GOFLAGS= GOWORK=off GOTOOLCHAIN=local \
      go build -v $GO_FLAGS -ldflags "$(ld_flags "$sources")" -o "$partial/$program" "$package"
  ) >"$CACHE/build-$sources.log" 2>&1 &
  wait_and_report $! "$sources" "$CACHE/build-$sources.log" ||
    die_with_log "building $sources failed; all of the output is in $CACHE/build-$sources.log" "$CACHE/build-$sources.log"
  mv "$partial" "$dir"
}

build_images() {
  local dir partial program
  dir=$(images_dir)
  [[ -d $dir ]] && return
  step "making the images of pause and coredns"
  partial=$CACHE/parts/.images.$$
  rm -rf "$CACHE/parts/.images".*
  mkdir -p "$partial"
  for program in pause coredns; do
    "$REPOSITORY/images/archive" "$HERE/src/program.Dockerfile" "$(part_dir "$program")" \
      "localhost/$program:1" "$partial/$program.tar" "PROGRAM=$program"
  done
  mv "$partial" "$dir"
}

# Sets BIN: one folder with links to all programs, and `images`.
find_binaries() {
  local parts=() sources
  for sources in "$KUBERNETES_SOURCES" etcd coredns helm; do parts+=("$(part_dir "$sources")"); done
  parts+=("$(images_dir)")
  BIN=$CACHE/bin/$(printf '%s\n' "${parts[@]}" | content_hash)
  [[ -d $BIN ]] || return 1
  # A part that somebody deleted from the cache must be built again.
  local part
  for part in "${parts[@]}"; do [[ -d $part ]] || return 1; done
}

build_all() {
  mkdir -p "$CACHE/parts" "$CACHE/bin"
  build_part "$KUBERNETES_SOURCES" tool
  build_part etcd go.etcd.io/etcd/server/v3 etcd
  build_part coredns github.com/coredns/coredns coredns
  build_part helm helm.sh/helm/v3/cmd/helm helm
  build_part pause . pause
  build_images
  find_binaries || true
  local partial=$BIN.partial sources
  rm -rf "$partial"
  mkdir -p "$partial"
  for sources in "$KUBERNETES_SOURCES" etcd coredns helm; do ln -s "$(part_dir "$sources")"/* "$partial/"; done
  ln -s "$(images_dir)" "$partial/images"
  rm -rf "$BIN"
  mv "$partial" "$BIN"
}

# build: afterwards BIN is set and complete.
build() {
  check_kubernetes_version
  need
  if find_binaries; then
    step "binaries are up to date"
  else
    with_lock "$CACHE/lock" build_all
    step "binaries are built"
  fi
}
