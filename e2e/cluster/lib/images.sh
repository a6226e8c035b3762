# shellcheck shell=bash
# Images come as docker-archives and are imported into every node: no registry can be reached.

# image_tags ARCHIVE: the names inside, one a line.
image_tags() {
  tar -xOf "$1" manifest.json 2>/dev/null | sed -n 's/.*"RepoTags": *\[\([^]]*\)\].*/\1/p' | tr ',' '\n' | tr -d '" ' | grep .
}

check_archive() {
  local tag tags
  [[ -r $1 ]] || die "cannot read $1"
  tags=$(image_tags "$1") || die "$1 is not a docker-archive with a named image: make one with 'buildah push IMAGE docker-archive:FILE:NAME:TAG' or 'docker save'"
  for tag in $tags; do
    # Kubernetes defaults such a pod to imagePullPolicy: Always, and nothing can be pulled here.
    [[ $tag != *:latest ]] || die "$1 holds $tag: give the image another tag than latest, which Kubernetes always tries to pull"
  done
}

load_images() {
  (($#)) || die "usage: cluster load IMAGE.tar..."
  local archive
  for archive in "$@"; do check_archive "$archive"; done
  for archive in "$@"; do
    # By stdin, because the node has a /run, /etc and /var of its own.
    load_archive "$archive" || die "could not import $archive into every node"
    step "loaded $(image_tags "$archive" | tr '\n' ' ')"
  done
}

load_archive() {
  local node jobs=() job failed=0
  for ((node = 1; node <= NODES; node++)); do
    in_node "node$node" ctr --namespace k8s.io images import - <"$1" >/dev/null &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  return $failed
}
