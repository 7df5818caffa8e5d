#!/bin/sh
# The programs and configurations of README.md are what a newcomer tries first: they compile with
# the installed library alone, run, and print what README.md says.
. "${top_srcdir:-.}/tests/support/tap.sh"
tap_stage
tap_mktemp
NETQUEUE_PLUGIN_PATH=$stage${plugindir:?}
NETQUEUE_PLUGIN_UNSAFE=1
export NETQUEUE_PLUGIN_PATH NETQUEUE_PLUGIN_UNSAFE

# A block to extract begins with a line `<!-- test: NAME -->`, then the fence; it goes to NAME.
mkdir "$tap_tmp/shm"
awk -v folder="$tap_tmp" '
    /^<!-- test: .* -->$/ { name = $3; next }
    /^```/ && file { close(file); file = ""; next }
    /^```/ && name { file = folder "/" name; name = ""; printf "" >file; next }
    file { print >file }' "$top_srcdir/README.md"

build() { # name
    # shellcheck disable=SC2046,SC2086 # lists of words
    $CC -Wall -Wextra -Werror $NQ_FLAGS $(stage_config --cflags netqueue) -o "$tap_tmp/$1" \
        "$tap_tmp/$1.c" $(stage_config --libs netqueue)
}

# The server and a client run in the folder of their configurations, on a port that is free here.
run() { # folder client
    cd "$tap_tmp/$1" || return 1
    port=$(free_port)
    sed -i "s/\"port\": [0-9]*/\"port\": $port/" server.json client.json
    timeout 60 "$tap_tmp/server" >server.out 2>server.err &
    server=$!
    # A client says what it goes over: the server is to listen on all its transports, tcp last.
    listening=":$(printf %04X "$port") 00000000:0000 0A"
    until grep -q "$listening" /proc/net/tcp || ! kill -0 "$server"; do :; done
    timeout 60 "$tap_tmp/$2" >client.out 2>client.err
    client_status=$?
    wait "$server"
    server_status=$?
    for file in server.out server.err client.out client.err; do
        sed "s/^/$file: /" "$file"
    done
    echo "server ended with $server_status, client with $client_status"
    [ "$server_status" -eq 0 ] && [ "$client_status" -eq 0 ]
}

said() { # folder expected
    diff "$tap_tmp/$2" "$tap_tmp/$1/client.out"
}

checked() { # name
    if [ -x "$stage${bindir:?}/netqueue" ]; then
        "$stage$bindir/netqueue" check -c "$tap_tmp/$1"
    fi
}

for file in server.c client.c server.json client.json expected loan.c shm/server.json \
    shm/client.json expected-loan; do
    check "README.md has $file" test -s "$tap_tmp/$file"
done
check "the server compiles" build server
check "the client compiles" build client
check "the server's configuration passes the check" checked server.json
check "the client's configuration passes the check" checked client.json
check "server and client run" run . client
check "the client prints what README.md says" said . expected
check "the one that lends compiles" build loan
if [ -e "$NETQUEUE_PLUGIN_PATH/shm.so" ]; then
    check "the server's configuration with shm passes the check" checked shm/server.json
    check "the client's configuration with shm passes the check" checked shm/client.json
    check "server and client run over shm" run shm loan
    check "the client prints what README.md says of shm" said shm expected-loan
fi
tap_done
