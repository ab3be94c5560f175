# shellcheck shell=bash disable=SC2034,SC2154 # names are shared with scripts/lab
# The lab's roots, kept in the cache and never written to again. Sourced by scripts/lab.
#
#   podman  a Debian with rootless podman, five users and their container image
#   clean   a plain Debian server with two users, on which nothing of podman's or ours is;
#           its apt finds what it would install in its own cache, as there is no network

suite=trixie

# Everything that shapes a root is in these two files.
root_key() {
  cat "$lab_d/packages.$variant" "$lab_d/root.sh" | sha256sum | cut -c1-12
}

# ensure_root: sets $root to a finished root, and makes it when there is none.
ensure_root() {
  root=$cache/root-$variant-$(root_key)
  [[ -d $root ]] && return
  with_lock "$cache/lock"
  if [[ ! -d $root ]]; then # else another caller made it while we waited
    build_root "$root"
  fi
  exec {lock_fd}>&-
}

# build_root DIR: the name DIR appears only when the root is whole, so an
# interrupted build is never taken for a good one.
build_root() {
  local partial=$1.partial
  "$scripts/install-deps" lab
  rm -rf --one-file-system "$cache"/root-*.partial
  mkdir -p "$cache/debs"
  say "making the root '$variant' (once, one to three minutes; log: $cache/root.log)"
  bootstrap "$partial"
  quieten "$partial"
  make_image "$partial"
  "customise_$variant" "$partial"
  mv -T "$partial" "$1"
  drop_old_roots "$1"
  say "root is ready: $1"
}

bootstrap() {
  local dir=$1 mirror packages
  mirror=$(debian_mirror)
  packages=$(sed 's/#.*//' "$lab_d/packages.$variant" | xargs | tr ' ' ,)
  # Read by the dpkg inside: no sync per file; no manuals but our own.
  mkdir -p "$dir/etc/dpkg/dpkg.cfg.d"
  printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/doc/*' \
    'path-exclude=/usr/share/locale/*' 'path-include=/usr/share/man/*/net-porter*' \
    'path-include=/usr/share/doc/net-porter/*' >"$dir/etc/dpkg/dpkg.cfg.d/lab"
  say "debootstrap $suite from ${mirror:-the default mirror}"
  # The mount namespace takes debootstrap's /proc and /sys away with it, even
  # when it is killed.
  unshare -m --propagation private -- debootstrap --variant=minbase --merged-usr \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg --cache-dir="$(realpath "$cache/debs")" \
    --include="$packages" "$suite" "$dir" ${mirror:+"$mirror"} 2>&1 </dev/null |
    tee "$cache/root.log" |
    { grep --line-buffered -E '^(I: (Resolving|Extracting|Unpacking|Configuring) (dep|the base|required|base-files|podman)|[EW]:)' || true; } |
    sed -u 's/^/lab:   /' >&2
  [[ -x $dir/usr/bin/busybox ]] || die "debootstrap failed: see $cache/root.log"
}

# debian_mirror: the machine's own mirror of the main archive, if apt has one
# that debootstrap can read.
debian_mirror() {
  # shellcheck disable=SC2016 # apt's own variables
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
    grep -E '^(https?|file):' | grep -v -- -security | sed -n 1p || true
}

# quieten: /proc/sys is writable in the lab and partly the outer machine's: nothing in
# the lab may set a sysctl or a binary format. The others only cost time.
quieten() {
  local dir=$1 unit
  for unit in systemd-sysctl.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
    systemd-modules-load.service systemd-pstore.service sys-kernel-debug.mount sys-kernel-tracing.mount \
    systemd-firstboot.service systemd-random-seed.service ldconfig.service systemd-journal-catalog-update.service \
    systemd-update-done.service getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    fstrim.timer netavark-dhcp-proxy.service netavark-dhcp-proxy.socket; do
    ln -sf /dev/null "$dir/etc/systemd/system/$unit"
  done
  : >"$dir/etc/machine-id" # a new one at each boot
  rm -rf "$dir"/var/cache/apt/archives/*.deb "$dir"/var/lib/apt/lists/*
}

customise_podman() {
  local dir=$1 user
  chroot "$dir" groupadd --system net-porter
  mkdir -p "$dir/var/lib/systemd/linger"
  for user in alice:1000 bob:1001 mallory:1002 carol:1003 podman:1004; do
    # useradd also gives each its range in /etc/subuid and /etc/subgid.
    chroot "$dir" useradd -m -s /bin/bash -u "${user#*:}" "${user%:*}"
    touch "$dir/var/lib/systemd/linger/${user%:*}"
  done
  for user in alice bob carol podman; do
    chroot "$dir" usermod -aG net-porter "$user"
  done
  import_image "$dir"
}

customise_clean() {
  local dir=$1
  chroot "$dir" useradd -m -s /bin/bash -u 1000 podman
  chroot "$dir" useradd -m -s /bin/bash -u 1001 alice
  # The last one as apt 3 wants it with podman, and the apt of Debian 12 does not.
  fill_apt_cache "$dir" podman netavark containernetworking-plugins
}

# fill_apt_cache DIR PACKAGE...: what apt in DIR will know of the archive, and what it would
# download to install the packages with all that they want. The machine's own apt does it,
# as that knows how to reach the archive.
fill_apt_cache() {
  local dir=$1 apt
  shift
  apt=(apt-get -qq -o "Dir::State=$dir/var/lib/apt" -o "Dir::State::status=$dir/var/lib/dpkg/status"
    -o "Dir::Cache=$dir/var/cache/apt" -o "Dir::Etc::SourceList=$dir/etc/apt/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o Dir::Etc::Trusted=/usr/share/keyrings/debian-archive-keyring.gpg -o APT::Sandbox::User=root
    -o Acquire::Retries=5 -o Acquire::Languages=none -o Acquire::GzipIndexes=false -o APT::Update::Post-Invoke::=true)
  say "apt-get update, and the packages of: $*"
  "${apt[@]}" update </dev/null >>"$cache/root.log" 2>&1 || die "apt-get update failed: see $cache/root.log"
  ln -f "$cache"/debs/*.deb "$dir/var/cache/apt/archives/" 2>/dev/null || true # debootstrap's, of the other root
  "${apt[@]}" -y --download-only install "$@" </dev/null >>"$cache/root.log" 2>&1 ||
    die "apt-get cannot download $*: see $cache/root.log"
}

# make_image: a container image needs no more than a busybox and its names.
make_image() {
  local dir=$1 image=$1/usr/local/share/lab/image applet
  mkdir -p "$image"/{bin,etc,proc,sys,dev,tmp,root,run,var}
  chmod 1777 "$image/tmp"
  cp "$dir/usr/bin/busybox" "$image/bin/busybox"
  for applet in $(chroot "$dir" busybox --list); do
    [[ $applet == busybox ]] || ln -sf busybox "$image/bin/$applet"
  done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$image/etc/passwd"
  echo 'root:x:0:' >"$image/etc/group"
  tar -C "$image" --numeric-owner -cf "$dir/usr/local/share/lab/bb.tar" .
  rm -rf "$image"
}

# import_image: each user has localhost/bb in their own storage, so that no
# boot spends time on it. Only podman can write that storage: boot and ask it.
import_image() {
  local dir=$1 user
  export NET_PORTER_LAB_NAME=root-build NET_PORTER_LAB_ROOT=$dir
  say "booting it once to import the container image for each user"
  "$scripts/lab" down # an interrupted build may have left it
  # What lives longer than we do must not hold our lock.
  "$scripts/lab" up {lock_fd}>&-
  for user in alice bob mallory carol podman; do
    "$scripts/lab" exec -u "$user" -- podman import -q -c 'CMD ["/bin/sh"]' \
      /usr/local/share/lab/bb.tar localhost/bb >/dev/null
  done
  cp -a "$cache/instances/root-build/home/." "$dir/home/"
  "$scripts/lab" down
  unset NET_PORTER_LAB_NAME NET_PORTER_LAB_ROOT
}

# drop_old_roots KEEP: a running lab may still stand on an old root.
drop_old_roots() {
  local old
  compgen -G "$run_base/*/state" >/dev/null && return
  for old in "$cache/root-$variant-"*; do
    [[ $old == "$1" ]] || rm -rf --one-file-system "$old"
  done
}
