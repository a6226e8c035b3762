# shellcheck shell=bash
# Sourced. Sets TOOLS to a folder with helm, helm-docs, python, checkov and kubernetes-validate, made once for each content of
# requirements.txt and this file under ${SMILAX_CACHE:-~/.cache/smilax}.

helm_docs=v1.14.2
hack=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

smilax_tools() {
    local cache wanted home
    cache=${SMILAX_CACHE:-$HOME/.cache/smilax}
    wanted=$(cat "$hack/requirements.txt" "$hack/tools.sh" | sha256sum | cut -c1-16)
    home=$cache/tools-$wanted
    # shellcheck disable=SC2034 # for whoever sources this
    TOOLS=$home/bin
    [ -e "$home/complete" ] && return 0
    mkdir -p "$cache"
    (
        flock 9
        [ -e "$home/complete" ] && exit 0
        echo "installing helm, helm-docs, checkov and kubernetes-validate into $home (about a minute, once)" >&2
        rm -rf "$home"
        if ! python3 -m venv "$home"; then
            echo "python3 cannot make a virtual environment; on Debian: apt-get install -y python3-venv" >&2
            exit 1
        fi
        "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$hack/requirements.txt" || exit 1
        GOBIN=$home/bin go install "github.com/norwoodj/helm-docs/cmd/helm-docs@$helm_docs" || exit 1
        touch "$home/complete"
    ) 9>"$cache/tools.lock"
}
