#!/bin/sh
# post_remove of alpm-install-scriptlet(5).
set -e
# shellcheck source=contrib/packaging/functions.sh
. contrib/packaging/functions.sh

left
