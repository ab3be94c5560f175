#!/bin/sh
# post_upgrade of alpm-install-scriptlet(5).
set -e
# shellcheck source=contrib/packaging/functions.sh
. contrib/packaging/functions.sh

settle
renew
