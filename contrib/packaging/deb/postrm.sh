#!/bin/sh
# postrm remove, postrm purge: the files are gone (deb-postrm(5)).
set -e
# shellcheck source=contrib/packaging/functions.sh
. contrib/packaging/functions.sh

# forget: a purge leaves nothing: neither records and leases, nor the configuration
# (Debian policy 6.8), although the administrator wrote it. What is a link to somewhere
# else loses the link only, and what another path of the configuration names stays.
forget() {
  for dir in /etc/net-porter /var/lib/net-porter; do
    if [ -L "$dir" ]; then rm -f "$dir"; else rm -rf "$dir"; fi
  done
  # The unit makes them for CNI plugins, which others may use, too.
  rmdir /var/lib/cni/networks /var/lib/cni /run/cni/tuning /run/cni 2>/dev/null || true
  if have groupdel && have getent && getent group net-porter >/dev/null; then
    groupdel net-porter || tell "the group net-porter is still there: groupdel net-porter"
  fi
}

case $1 in
  remove) left ;;
  purge) forget ;;
esac
