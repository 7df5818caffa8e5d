#!/bin/sh
# The long run of wait_stress of a build tree: 100 million hand-overs, some minutes.  TAP.
program=${top_builddir:-$(dirname "$0")/../../build}/tests/stress/wait_stress
if [ ! -x "$program" ]; then
    echo "1..0 # SKIP $program is not built (make check)"
    exit 0
fi
exec "$program" "${1:-100000000}"
