#!/bin/sh
# %preun: $1 is how many versions of the package will be left. An upgrade stops nothing.
set -e
# shellcheck source=contrib/packaging/functions.sh
. contrib/packaging/functions.sh

if [ "$1" -eq 0 ]; then leave; fi
