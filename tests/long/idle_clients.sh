#!/bin/sh
# Run the test idle_clients of a build tree: tests/long/idle_clients.sh [SECONDS [CLIENTS]]
# top_builddir names the tree (build/ when it is not set); the program prints TAP.
tree=${top_builddir:-$(dirname "$0")/../../build}
program=$tree/tests/long/idle_clients
if [ ! -x "$program" ]; then
    echo "1..0 # SKIP $program is not built (make check-long)"
    exit 0
fi
: "${NETQUEUE_PLUGIN_PATH:=$(cd "$tree/plugins/tcp/.libs" && pwd):$(cd "$tree/plugins/shm/.libs" && pwd)}"
export NETQUEUE_PLUGIN_PATH
exec "$program" "$@"
