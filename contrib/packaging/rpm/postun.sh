#!/bin/sh
# %postun: $1 is how many versions of the package are left.
set -e
# shellcheck source=contrib/packaging/functions.sh
. contrib/packaging/functions.sh

if [ "$1" -eq 0 ]; then left; fi
