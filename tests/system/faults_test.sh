#!/bin/sh
# A server lives through what others do to it: clients that are killed or stopped within a message,
# connections that break the protocol, two hundred of them.  Meanwhile one client is connected all
# the time and another one comes and goes, and they notice nothing; afterwards the server has as
# many descriptors as before, and no more memory than it may keep.
#
# A put stands in the middle of its message, without a race, when the memory that the server may
# set aside is all taken: it then sends what it has credit for, and waits.  What must come to pass is
# looked for again and again, for a bounded time.
. "${top_srcdir:-.}/tests/support/tap.sh"
. "$top_srcdir/tests/support/command.sh"

bad_peer=$top_builddir/tests/support/bad_peer
[ -x "$bad_peer" ] || skip_all "$bad_peer is not built"

ended() { # PID: it is not there any more; its exit code
    wait "$1" 2>/dev/null
    code=$?
    sed -i "/^$1\$/d" started
    return "$code"
}

# within COMMAND...: it succeeds within a minute.
within() {
    last=$(($(date +%s) + 60))
    until "$@"; do
        [ "$(date +%s)" -lt "$last" ] || { echo "not within a minute: $*"; return 1; }
    done
}

memory=268435456 # limits.max_message and limits.memory of the server

# What a lost client leaves is kept for this long.
expiry=1s

configs() {
    port=$(free_port)
    config server.json server ", \"limits\": {\"memory\": $memory, \"max_message\": $memory},
        \"session\": {\"keepalive\": \"off\", \"expiry\": \"$expiry\"}"
    config client.json client ", \"session\": {\"expiry\": \"$expiry\"}"
}

# start_server FOLDER LOG: its pid is in $server; it listens.
start_server() {
    rm -f "$2"
    NETQUEUE_LOG=info "$NETQUEUE" get -c server.json -o "$1" >/dev/null 2>"$2" &
    server=$!
    started "$server"
    within grep -qs 'listening on' "$2"
}

# ---- the server, and a client that is there all the time ---------------------------------------

other=6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e
configs
config other.json client ", \"id\": \"$other\""
start_server inbox server.log || exit 99

mkfifo other.fifo
"$NETQUEUE" put -c other.json --lines <other.fifo >other.out 2>other.err &
putting=$!
started "$putting"
exec 4>other.fifo
: >said

# All that the other client said has arrived, in order and once.
heard() {
    number=0
    while [ "$number" -lt "$(wc -l <said)" ]; do
        number=$((number + 1))
        cat "inbox/$number.bin" 2>/dev/null || break
        echo
    done | cmp -s - said && [ ! -e "inbox/$(($(wc -l <said) + 1)).bin" ]
}

# serves WORD: both clients can send at this moment.
serves() {
    echo "$1" >>said
    echo "$1" >&4
    echo "this is $1" >"file.$1"
    ends 0 nq put -c client.json "file.$1" && within cmp -s "file.$1" "inbox/file.$1" &&
        within heard
}

serves start || exit 99

descriptors() {
    find "/proc/$server/fd" -mindepth 1 | wc -l
}

resident() { # KiB
    awk '/^VmRSS:/ { print $2 }' "/proc/$server/status"
}

only_other() {
    [ "$(grep -c ': peer up: ' server.log)" -eq $(($(grep -c ': peer gone: ' server.log) + 1)) ]
}
within only_other || exit 99
descriptors_first=$(descriptors)
resident_first=$(resident)

descriptors_back() {
    [ "$(descriptors)" -eq "$descriptors_first" ]
}

# Not more than so many KiB above what it was.  Sanitizers keep freed memory, and find leaks of a few
# bytes, which this does not, when the server ends.
resident_back() { # KIB_THEN KIB_MORE
    [ -n "$NQ_FLAGS" ] || [ "$(resident)" -le $(($1 + $2)) ]
}

# The server keeps up to 64 MiB of free blocks; the rest is for what lies between them.
nothing_leaked() {
    within descriptors_back || { ls -l "/proc/$server/fd"; return 1; }
    within resident_back "$resident_first" $((80 * 1024)) ||
        { echo "$resident_first KiB became $(resident)"; return 1; }
}

# ---- connections that break the protocol -----------------------------------------------------------

# survives KIND REASON: the server ends such a connection, says why, and serves on.
survives() {
    before=$(wc -l <server.log)
    ends 0 "$bad_peer" -l $((memory + 1)) "$port" "$1" || return 1
    within said_why "$before" "$2" || { tail -n +$((before + 1)) server.log; return 1; }
    serves "after-$1" && nothing_leaked
}

said_why() { # LINES_BEFORE REASON
    tail -n +$(($1 + 1)) server.log | grep -q -e "$2"
}

# It takes 10 s until the server has enough of it: the other checks of configurations go beside it.
"$bad_peer" "$port" unfinished >unfinished.out 2>&1 &
unfinished=$!
started "$unfinished"

silent_beside() {
    within grep -qs unfinished unfinished.out && serves silent
}

silent_ended() {
    serves silent-still && says server.log 'refused: .*no hello within 10 s' &&
        nothing_leaked
}

twin() {
    config twin.json client ", \"id\": \"$other\""
    ends 4 nq put -c twin.json --timeout 3s file.start &&
        says err 'the id is in use by another session' &&
        says server.log "refused: $other.*the id is in use by another session" && serves twin
}

wrong_values() {
    for more in '"port": 70000' '"port": "many"' '"limits": {"peers": 0}' \
        '"limits": {"memory": true}' '"session": {"keepalive": "1ms"}' \
        '"id": "6f1c2f3e"' '"queue": []'; do
        key=$(echo "$more" | grep -o '"[a-z]*": [^{]' | cut -d '"' -f 2)
        printf '{"purpose": "server", "transport": "tcp", %s}\n' "$more" >wrong.json
        ends 3 nq get -c wrong.json && says err "$key" || return 1
    done
    sed 's/"tcp"/"no-such"/' server.json >wrong.json
    ends 3 nq get -c wrong.json && says err 'no-such'
}

check "a greeting without its last byte, then silence, is in nobody's way" silent_beside
check "a second client with an id that is in use is refused, the first one stays" twin
check "a value of a wrong type or range and a missing plugin stop get with 3" wrong_values
if ended "$unfinished"; then
    check "a silent connection ends after 10 s" silent_ended
else
    not_ok "a silent connection ends after 10 s"
    note <unfinished.out
fi
check "random bytes are no greeting" survives random 'refused: .*the first record is no hello'
check "a greeting that ends half way" survives truncated 'refused: .*closed by the other side'
check "a record with unknown flags" survives flags 'peer gone: .*unknown flags 0x43'
check "a record of a wrong length" survives body 'peer gone: .*type 7 with a body of 7 bytes'
check "a record of an unknown type" survives unknown 'peer gone: .*unknown type 200'
check "a message beyond the limit" survives long 'peer gone: .*268435457 bytes.*limits.max_message'
check "a record that is cut" survives cut 'peer gone: .*closed by the other side'

# A sixth of them leaves half a MiB behind in a message that never ends: 16 MiB, were it not freed.
many() {
    resident_then=$(resident)
    ends 0 "$bad_peer" -l $((memory + 1)) -n 210 "$port" random truncated flags body unknown long \
        cut && serves many && nothing_leaked || return 1
    within resident_back "$resident_then" $((8 * 1024)) ||
        { echo "$resident_then KiB became $(resident)"; return 1; }
}
check "two hundred of them leave nothing behind" many

# ---- clients that are killed or stopped ------------------------------------------------------------

head -c $((128 << 20)) /dev/urandom >large
mkdir busy
for number in $(seq 1 300); do
    echo "this is $number" >"busy/busy.$number"
done

# Takes the memory that the server may set aside; its pid is in $holder.
start_hold() {
    rm -f hold.out
    "$bad_peer" -l "$memory" "$port" hold >hold.out 2>&1 &
    holder=$!
    started "$holder"
    within grep -qs hold hold.out || { cat hold.out; return 1; }
}

end_hold() {
    kill -KILL "$holder"
    ended "$holder"
    [ $? -eq 137 ]
}

# It maps the file, and what it has sent of it is resident.
has_sent() { # PID
    [ "$(awk '/^RssFile:/ { print $2 }' "/proc/$1/status")" -ge $((32 * 1024)) ]
}

# start_large FILE...: a put in a session of its own, in the middle of its first message; its pid is
# in $putter.
start_large() {
    setsid "$NETQUEUE" put -c client.json --timeout 120s "$@" >put.out 2>put.err </dev/null &
    putter=$!
    started "$putter"
    within has_sent "$putter" || { cat put.err; return 1; }
}

all_busy() {
    for number in $(seq 1 300); do
        cmp -s "busy/busy.$number" "inbox/busy.$number" || return 1
    done
}

# Four times 32 MiB or more: what is not freed shows.
killed_client() {
    for round in 1 2 3 4; do
        start_hold && start_large large || return 1
        nq put -c client.json -r busy >busy.out 2>busy.err &
        busy=$!
        within test -e inbox/busy.1 && kill -KILL "$putter" || return 1
        ended "$putter"
        [ $? -eq 137 ] || { echo "the put ended by itself"; return 1; }
        wait "$busy" || { cat busy.err; return 1; }
        within all_busy && serves "killed-$round" && end_hold || return 1
        rm inbox/busy.*
    done
    nothing_leaked && [ -z "$(find inbox -name '*large*' -o -name '*.part')" ]
}

is_stopped() { # PID
    [ "$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat")" = T ]
}

stopped_client() {
    start_hold && start_large large && kill -STOP "$putter" && within is_stopped "$putter" &&
        serves stopped && end_hold && serves stopped-still || return 1
    [ ! -e inbox/large ] || { echo "the message arrived too early"; return 1; }
    kill -CONT "$putter"
    ended "$putter" || { cat put.err; return 1; }
    within cmp -s large inbox/large && rm inbox/large && nothing_leaked
}

check "a client killed within a message: it is not handed out, the others go on" killed_client
check "a client stopped within a message: the others go on, later it arrives whole" stopped_client

# ---- the end of it ------------------------------------------------------------------------------------

# Sanitizers look for leaks now.
other_noticed_nothing() {
    within heard || return 1
    [ "$(grep -c ": peer up: $other" server.log)" -eq 1 ] ||
        { echo "more than one connection of it"; return 1; }
    ! grep ": peer gone: $other" server.log
}

other_ends() {
    [ "$1" -eq 0 ] && [ ! -s other.err ] && return
    echo "it ended with $1"
    cat other.err
    return 1
}

server_ends() {
    grep -m 100 -v '^netqueue: info: ' server.log || [ "$1" -ne 130 ] || return 0
    echo "it ended with $1"
    return 1
}

check "one client was connected all the time, and all it said has arrived" other_noticed_nothing
exec 4>&-
ended "$putting"
check "that client ends without a complaint" other_ends $?
kill -INT "$server"
ended "$server"
check "the server ends in good order" server_ends $?

# ---- a server that is killed ------------------------------------------------------------------------

# Processes in the session of PID, of which none may be left.
session_is_empty() {
    left=$(cat /proc/[0-9]*/stat 2>/dev/null | sed 's/^\([0-9]*\) (.*) ./\1/' |
        awk -v session="$1" '$4 == session { print $1 }')
    [ -z "$left" ] || { echo "left: $left"; return 1; }
}

# The server is gone while a put, whose pid is then in $putter, stands in its first message.
kill_server() { # FILE...
    configs
    start_server inbox2 server2.log && start_hold && start_large "$@" || return 1
    kill -KILL "$server"
    ended "$server"
    end_hold
}

# put_ended CODE WHY: so it ends, and it says what became of the message.
put_ended() {
    ended "$putter"
    code=$?
    [ "$code" -eq "$1" ] || { echo "exit code $code"; cat put.err; return 1; }
    says put.err "^netqueue: put: large to .*: not delivered: $2" &&
        [ "$(wc -l <put.err)" -eq 1 ] && session_is_empty "$putter"
}

server_killed() {
    kill_server large && put_ended 1 'the session expired' && [ -z "$(find inbox2 -type f)" ]
}

server_comes_back() {
    expiry=60s
    kill_server large file.start file.twin && start_server inbox2 server2.log &&
        put_ended 1 'no such session' &&
        within cmp -s file.start inbox2/file.start && within cmp -s file.twin inbox2/file.twin ||
        return 1
    kill -INT "$server"
    ended "$server"
    [ -z "$(find inbox2 -name '*large*' -o -name '*.part')" ]
}

check "a server killed within a message: put says so, ends, and nothing is left" server_killed
check "a server that comes back gets what was not begun" server_comes_back

tap_done
