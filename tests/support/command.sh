# shellcheck shell=sh
# For test scripts that run the command netqueue over tcp.  Source it behind tap.sh: the script then
# is in a folder of its own.
#
# NETQUEUE names another command than that of the build tree.  `port` is the server's, for config.

tap_mktemp
cd "${tap_tmp:?}" || exit 99
NETQUEUE=${NETQUEUE:-$top_builddir/tools/netqueue}
[ -x "$NETQUEUE" ] || skip_all "$NETQUEUE is not built"
[ -n "${NETQUEUE_PLUGIN_PATH:-}" ] || NETQUEUE_PLUGIN_PATH=$top_builddir/plugins/tcp/.libs
NETQUEUE_PLUGIN_UNSAFE=1
export NETQUEUE_PLUGIN_PATH NETQUEUE_PLUGIN_UNSAFE

# netqueue, ended when it hangs.  In the foreground: signals reach it once, not twice.
nq() {
    timeout --foreground -k 5 60 "$NETQUEUE" "$@"
}

# config FILE PURPOSE [MORE]: MORE begins with a comma.
config() {
    printf '{"purpose": "%s", "transport": "tcp", "host": "127.0.0.1", "port": %s%s}\n' \
        "$2" "${port:?}" "${3:-}" >"$1"
}

# server.json and client.json, on a free port; MORE as above, the server's.
two_sides() {
    port=$(free_port)
    config server.json server "${1:-}"
    config client.json client
}

# A get in the background; its pid is in $getter.  Not through nq: a signal must reach the command
# itself.
start_get() { # options of get
    "$NETQUEUE" get -c server.json --timeout 60s "$@" &
    getter=$!
}

# got CODE: the getter has ended with it.
got() {
    wait "$getter"
    code=$?
    [ "$code" -eq "$1" ] && return
    echo "get ended with $code instead of $1"
    [ ! -s get.err ] || cat get.err
    return 1
}

# ends CODE COMMAND...: its output goes to out and err.
ends() {
    want=$1
    shift
    "$@" >out 2>err
    code=$?
    [ "$code" -eq "$want" ] && return
    echo "exit code $code instead of $want: $*"
    sed 's/^/stdout: /' out | head -20
    sed 's/^/stderr: /' err | head -20
    return 1
}

says() { # FILE PATTERN
    grep -q -e "$2" "$1" && return
    echo "no \"$2\" in $1:"
    tail -n 20 "$1"
    return 1
}
