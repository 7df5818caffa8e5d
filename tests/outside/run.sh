#!/bin/sh
# Build the transport against installed headers and move a file through it with the installed
# command.  Run in this folder.  From the environment, all optional: CC, CFLAGS, TRANSPORT_CFLAGS,
# STAGE_PLUGINS (the folder of the installed plugins), NETQUEUE (the command).
set -eu

find_command() {
    folder=${STAGE_PLUGINS:-/}
    while [ "$folder" != / ] && [ "$folder" != . ]; do
        folder=$(dirname "$folder")
        [ ! -x "$folder/bin/netqueue" ] || {
            echo "$folder/bin/netqueue"
            return
        }
    done
    command -v netqueue
}

NETQUEUE=${NETQUEUE:-$(find_command)} || {
    echo "the command netqueue was not found"
    exit 1
}
make -s unixsock.so

work=$(mktemp -d) # a short path, for the socket's sake
# The library loads nothing from below a folder that everybody may write to, as that one is.
plugins=$(mktemp -d "$PWD/plugins.XXXXXX")
server=
end() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || :
    rm -rf "$work" "$plugins"
}
trap end EXIT
trap 'exit 1' HUP INT TERM

mkdir "$work/in" "$work/out"
install -m 644 unixsock.so "$plugins/"
NETQUEUE_PLUGIN_PATH=$plugins
export NETQUEUE_PLUGIN_PATH
echo '{"purpose": "server", "transport": "unixsock", "path": "socket"}' >"$work/server.json"
echo '{"purpose": "client", "transport": "unixsock", "path": "socket"}' >"$work/client.json"
head -c 5000000 /dev/urandom >"$work/in/file"

"$NETQUEUE" transports unixsock
timeout 60 "$NETQUEUE" get -c "$work/server.json" -n 1 -o "$work/out" &
server=$!
timeout 60 "$NETQUEUE" put -c "$work/client.json" "$work/in/file"
wait "$server"
server=
cmp "$work/in/file" "$work/out/file"
echo "a file went through unixsock"
