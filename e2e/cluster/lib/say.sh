# shellcheck shell=bash
# What the user sees. Progress and errors go to stderr, so that stdout holds results only.

CLOCK_START=$EPOCHREALTIME

# elapsed: seconds since the command began, with one decimal.
elapsed() {
  local tenths=$(((${EPOCHREALTIME/[.,]/} - ${CLOCK_START/[.,]/}) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

say() { printf '%s\n' "$*" >&2; }

# step TEXT: a line of progress with the time at which this step begins.
step() { printf '  %6s s  %s\n' "$(elapsed)" "$*" >&2; }

warn() { printf 'cluster: warning: %s\n' "$*" >&2; }

die() {
  printf 'cluster: %s\n' "$*" >&2
  exit 1
}

# What no one expected still says where it happened.
trap 'say "cluster: failed at ${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND"' ERR
set -o errtrace

# die_with_log TEXT FILE: what failed, and the last lines of the log that says why.
die_with_log() {
  say "---- last lines of $2"
  tail -n 15 "$2" >&2 || true
  say "----"
  die "$1"
}

# until_true SECONDS COMMAND...: tries the command ten times a second; fails when the time is over.
until_true() {
  local tries=$(($1 * 10))
  shift
  while ! "$@" >/dev/null 2>&1; do
    ((tries-- > 0)) || return 1
    sleep 0.1
  done
}
