#!/bin/sh
# Pasted into the scripts of deb, rpm and archlinux by scripts/packages, since a script
# that removes a package cannot count on the package's own files.
#
# Each may run twice, in a root that is only being built, and without systemd: that is
# where the kernel and the running daemons are somebody else's.

have() { command -v "$1" >/dev/null 2>&1; }

tell() { echo "net-porter: $*" >&2; }

# booted: systemd runs (sd_booted(3)), and this root is its own. What cannot be known is no:
# in the root of an image the kernel's rules are not to be touched, though its /run may be ours.
booted() {
  # shellcheck disable=SC3013 # -ef is in POSIX since 2024, and in all shells long since
  [ -d /run/systemd/system ] && have systemctl && [ / -ef /proc/1/root ]
}

# settle: what the installed files ask of the system: the group, folders, catalogue, units.
settle() {
  if have systemd-sysusers; then
    systemd-sysusers net-porter.conf || tell "the group net-porter could not be made: systemd-sysusers net-porter.conf"
  fi
  if have systemd-tmpfiles; then
    systemd-tmpfiles --create net-porter.conf || tell "folders could not be made: systemd-tmpfiles --create net-porter.conf"
  fi
  catalogue
  if booted; then
    systemctl daemon-reload || tell "systemd has not read the units: systemctl daemon-reload"
  fi
}

# catalogue: journalctl -x knows our records, or no longer.
catalogue() {
  if have journalctl; then
    journalctl --update-catalog >/dev/null 2>&1 || true # a root without /var/lib/systemd
  fi
}

# greet: nothing is enabled or started. Who may have what is the administrator's to say.
greet() {
  tell "nothing is started yet. Write /etc/net-porter/config.json and cni.d (/usr/share/doc/net-porter/examples), see \`net-porter check\`,"
  tell "then: systemctl enable --now net-porter.service; usermod -aG net-porter USER"
}

# renew: a daemon that runs is started anew. Containers do not notice, and who calls
# meanwhile waits at the socket, which is systemd's and stays. One that would not start again,
# as its files on disk are wrong, goes on as it is. A conflist that is wrong keeps no daemon from
# starting, so it must not keep an upgrade from taking effect either.
# Where a drop-in of the unit has the daemon read another file (-c), it is the usual one that is
# looked at all the same: systemd tells the command line in no form that a script could go by.
renew() {
  booted || return 0
  systemctl --quiet is-active net-porter.service || return 0
  if ! wrong=$(/usr/bin/net-porter check --start 2>&1); then
    tell "the daemon that runs is still the one from before the upgrade, as this one would not start:"
    printf '%s\n' "$wrong" >&2
    tell "when that is right: systemctl restart net-porter.service"
    return 0
  fi
  systemctl try-restart net-porter.service ||
    tell "the daemon has not started again: systemctl status net-porter.service"
}

# leave: before the files go, the daemon stops and nothing starts it any more. Interfaces
# of running containers stay until these end, which is said. The rules of "enforce" go, since
# nobody would be left who knows them.
leave() {
  if booted; then
    attachments=0
    if systemctl --quiet is-active net-porter.service; then
      attachments=$(timeout 10 /usr/bin/net-porter attachments 2>/dev/null | sed 1d | wc -l) || attachments=0
    fi
    systemctl stop net-porter.socket net-porter.service || tell "the daemon has not stopped: systemctl status net-porter.service"
    timeout 60 /usr/bin/net-porter enforce --purge || tell "rules of \"enforce\" may still be there: nft list tables"
    if [ "$attachments" -gt 0 ]; then
      tell "containers still have $attachments interfaces. They keep them until they end, and nobody renews"
      tell "their leases or holds them to their addresses; podman will say that the plugin is missing."
    fi
  fi
  if have systemctl; then
    booted || export SYSTEMD_OFFLINE=1 # then it works on the links alone
    systemctl --quiet disable net-porter.socket net-porter.service || true
  fi
}

# left: after the files are gone.
left() {
  catalogue
  if booted; then
    systemctl daemon-reload || true
    systemctl reset-failed net-porter.socket net-porter.service 2>/dev/null || true
    rm -f /run/net-porter.sock
  fi
}
