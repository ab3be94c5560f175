#!/bin/sh
# postinst configure [VERSION-BEFORE]: the files are there (deb-postinst(5)).
set -e
# shellcheck source=contrib/packaging/functions.sh
. contrib/packaging/functions.sh

case $1 in
  configure)
    settle
    # Not only of an upgrade: also what was removed and not purged has a version before.
    if [ -n "$2" ]; then renew; else greet; fi
    ;;
  abort-upgrade | abort-remove | abort-deconfigure) settle ;;
esac
