# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with scripts/lab
# What every subcommand of scripts/lab shares: where things are, how to say
# things, and how to find a running lab. Sourced, and on the path of every
# `lab exec`: it starts no process.

umask 022
# The caller's PATH must not decide which nsenter runs as root.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

name=${NET_PORTER_LAB_NAME:-lab}
cache=${NET_PORTER_LAB_CACHE:-/var/cache/net-porter-lab}
[[ $cache == /* ]] || cache=$PWD/$cache
run_base=/run/net-porter-lab
run=$run_base/$name          # state, gone when the lab is down
disk=$cache/instances/$name  # what the lab writes, gone when the lab is down
variant=${NET_PORTER_LAB_VARIANT:-podman}

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[[ $name =~ ^[a-z][a-z0-9-]{0,30}$ ]] ||
  die "NET_PORTER_LAB_NAME is '$name': use at most 31 of a-z, 0-9 and '-'"
[[ $variant == podman || $variant == clean ]] ||
  die "NET_PORTER_LAB_VARIANT is '$variant': podman, or clean"
((EUID == 0)) || die "needs root: it boots a container"

# start_time PID: sets $started to field 22 of proc_pid_stat(5). With the pid it
# names one process for ever; a pid alone may have been given to another one.
start_time() {
  local stat fields
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }" # the command's name may hold anything
  [[ ${fields[0]} != Z ]] || return 1
  started=${fields[19]}
}

# is_up: true when the lab runs; then $leader is its init as seen from here
# and $payload the folder of its cgroup.
is_up() {
  local start
  { read -r leader start payload <"$run/state"; } 2>/dev/null || return 1
  # The folder too: where /run outlives a reboot, the state is from another life.
  [[ -d $payload ]] && start_time "$leader" && [[ $started == "$start" ]]
}

need_up() {
  is_up || die "'$name' is not up: run scripts/lab up"
}

# with_lock FILE: one caller at a time goes past this line. Long-lived children
# must be started with {lock_fd}>&-.
with_lock() {
  mkdir -p "${1%/*}"
  exec {lock_fd}>"$1"
  flock -x "$lock_fd"
}
