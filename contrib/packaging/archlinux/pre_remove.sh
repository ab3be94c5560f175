#!/bin/sh
# pre_remove of alpm-install-scriptlet(5).
set -e
# shellcheck source=contrib/packaging/functions.sh
. contrib/packaging/functions.sh

leave
