#!/bin/sh
# %post: $1 is how many versions of the package are installed now.
set -e
# shellcheck source=contrib/packaging/functions.sh
. contrib/packaging/functions.sh

settle
if [ "$1" -gt 1 ]; then renew; else greet; fi
