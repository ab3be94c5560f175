#!/bin/sh
# prerm remove: the files are still there (deb-prerm(5)). An upgrade stops nothing:
# the socket stays, and the new postinst starts the daemon anew.
set -e
# shellcheck source=contrib/packaging/functions.sh
. contrib/packaging/functions.sh

case $1 in
  remove) leave ;;
esac
