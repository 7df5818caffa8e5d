#!/bin/sh
# The chaos test, long: tests/long/chaos.sh [OPTION...]; chaos.py --help says which there are.
# top_builddir names the tree (build/ when it is not set); the program prints TAP.
here=$(dirname "$0")
tree=${top_builddir:-$here/../../build}
program=$tree/tests/long/chaos_end
if [ ! -x "$program" ]; then
    echo "1..0 # SKIP $program is not built (make check)"
    exit 0
fi
if ! command -v python3 >/dev/null; then
    echo "1..0 # SKIP python3 is not there"
    exit 0
fi
plugins=$(cd "$tree/plugins" && pwd)
: "${NETQUEUE_PLUGIN_PATH:=$plugins/tcp/.libs:$plugins/grpc/.libs:$plugins/mqtt/.libs:$plugins/shm/.libs}"
export NETQUEUE_PLUGIN_PATH
exec python3 -B "$here/chaos.py" --program "$program" --folder "$tree/tests" "$@"
