# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with scripts/lab
# Starting and stopping one lab. Sourced by scripts/lab.
#
# A lab lives in a cgroup of its own and in a mount namespace of its own:
# killing the one takes every process, and with the last process go all mounts
# and network namespaces. That is why `down` needs no list of what to undo.

# cgroup2_mount: where this machine mounts the unified hierarchy, alone or
# beside cgroup v1.
cgroup2_mount() {
  local dir
  for dir in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    if [[ $(stat -f -c %T "$dir" 2>/dev/null) == cgroup2fs ]]; then
      echo "$dir"
      return
    fi
  done
  die "no cgroup2 file system is mounted at /sys/fs/cgroup or /sys/fs/cgroup/unified"
}

# is_booted: without the mark, the one who started the lab was interrupted.
is_booted() { is_up && [[ -e $run/booted ]]; }

up() {
  local own=()
  if is_booted; then
    say "'$name' is up already"
    return
  fi
  "$scripts/install-deps" lab
  root=${NET_PORTER_LAB_ROOT:-}
  [[ -n $root ]] || ensure_root
  with_lock "$run_base/$name.lock"
  if is_booted; then # another caller was faster
    say "'$name' is up"
    return
  fi
  wipe # what a killed predecessor left
  mkdir -p "$run" "$disk"/{upper,work,home}
  modprobe -aq overlay tun fuse veth bridge macvlan 2>/dev/null || true # built in or loaded: both fine
  # The users' storage cannot be on an overlay, as podman stacks its own on it.
  cp -a --reflink=auto "$root/home/." "$disk/home/"
  # What is for tests of ours alone has no place on a clean machine.
  [[ $variant != clean ]] || own=(--exclude=./opt)
  tar -C "$lab_d/rootfs" "${own[@]}" --owner=0 --group=0 --mode=u=rwX,go=rX -c . | tar -C "$disk/upper" -x
  echo "$name" >"$disk/upper/etc/hostname"
  boot
}

boot() {
  start
  wait_booted
  touch "$run/booted"
  say "'$name' is up"
}

# reboot: as when somebody trips over the cable. No process gets to end in order, /run
# and /tmp are new, and so is the boot id, which systemd-nspawn makes up at each boot;
# the LANs and their servers start anew too, with the leases that they have on disk.
reboot() {
  with_lock "$run_base/$name.lock"
  need_up
  read -r root <"$run/root.path"
  kill_all
  rm -rf --one-file-system "$run"
  mkdir -p "$run"
  boot
}

start() {
  local group nspawn
  echo "$root" >"$run/root.path" # of the next reboot
  group=$(cgroup2_mount)/net-porter-lab-$name
  mkdir -p "$group"
  if ! grep -qw pids "$group/cgroup.controllers"; then
    # podman's default limit would be an error without the controller
    mkdir -p "$disk/upper/etc/containers/containers.conf.d"
    printf '[containers]\npids_limit = 0\n' >"$disk/upper/etc/containers/containers.conf.d/lab.conf"
  fi
  (
    echo 0 >"$group/cgroup.procs"
    exec {lock_fd}>&-
    exec setsid unshare -m --propagation private -- \
      "$lab_d/nspawn" "$name" "$root" "$disk" "$run"
  ) </dev/null >"$run/console.log" 2>&1 &
  nspawn=$!
  find_leader "$nspawn"
}

# find_leader NSPAWN: write the state as soon as the lab's init has started.
find_leader() {
  local pid id
  while kill -0 "$1" 2>/dev/null; do
    for pid in $(pgrep -P "$1" || true); do
      # Before init is executed the namespaces are half made, and a command
      # sent there would run on the outer machine.
      if [[ $(readlink "/proc/$pid/exe") == */systemd ]] && start_time "$pid"; then
        id=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
        payload=$(cgroup2_mount)${id%/init.scope}
        leader=$pid
        echo "$leader $started $payload" >"$run/state"
        return
      fi
    done
    sleep 0.05 # nothing tells of an exec without tracing it
  done
  cat "$run/console.log" >&2
  wipe
  die "systemd-nspawn failed; if the overlay mount did, set NET_PORTER_LAB_CACHE to a folder on a plain disk"
}

wait_booted() {
  local state begin=$SECONDS
  while is_up; do
    if ((SECONDS - begin > 120)); then
      lab_exec -- systemctl list-jobs --no-pager </dev/null >&2 || true
      die "'$name' does not finish its boot; its jobs are above, its console in $run/console.log"
    fi
    state=$(lab_exec -- timeout 60 systemctl is-system-running --wait </dev/null 2>/dev/null || true)
    case $state in
      running) break ;;
      degraded)
        lab_exec -- systemctl --failed --no-legend --plain </dev/null >&2
        break
        ;;
    esac
    sleep 0.05 # init does not answer yet, so there is nothing to wait on
  done
  is_up || { tail "$run/console.log" >&2; die "'$name' died while it booted"; }
  # Lingering users' managers start on their own, but the boot does not wait
  # for them; a second start does.
  # shellcheck disable=SC2016 # expanded in the lab
  lab_exec -- sh -c 'ls /var/lib/systemd/linger 2>/dev/null | while read -r user; do
    echo "user@$(id -u "$user").service"; done | xargs -r systemctl start' </dev/null
}

down() {
  with_lock "$run_base/$name.lock"
  local was=0
  is_up && was=1
  wipe
  ((was)) && say "'$name' is down"
  return 0
}

# wipe: leave nothing of the lab, whatever state it is in.
wipe() {
  kill_all
  rm -rf --one-file-system "$run" "$disk"
}

# kill_all: end every process of the lab at once.
kill_all() {
  local group tries
  group=$(cgroup2_mount)/net-porter-lab-$name
  [[ -d $group ]] || return 0
  echo 1 >"$group/cgroup.kill"
  for ((tries = 0; tries < 6000; tries++)); do
    # The last one out unmounts the disk, and waits for all that is to be written there.
    # The last of a group's processes is no longer counted a moment before it is gone.
    if grep -q '^populated 0' "$group/cgroup.events" &&
      find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; then
      return
    fi
    sleep 0.02
  done
  die "processes of '$name' will not die: see $group"
}
