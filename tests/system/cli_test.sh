#!/bin/sh
# The command as a user meets it: files and lines between two processes over tcp, what goes wrong
# and what it says then, exit codes, help and manual pages.
#
# Nothing here waits by the clock: a reader blocks on a FIFO until the other side has written.
. "${top_srcdir:-.}/tests/support/tap.sh"
. "$top_srcdir/tests/support/command.sh"

two_sides

sum() {
    sha256sum <"$1"
}

same() { # FILE FILE
    [ "$(sum "$1")" = "$(sum "$2")" ] && return
    echo "$1 and $2 differ: $(wc -c <"$1") and $(wc -c <"$2") bytes"
    return 1
}

# ---- the command line -------------------------------------------------------------------------

commands=$("$NETQUEUE" --help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')

help_works() {
    [ "$(echo "$commands" | wc -w)" -ge 6 ] || return 1
    for command in $commands; do
        ends 0 nq "$command" --help && says out "^Usage: netqueue $command" &&
            says out "^Exit code:" || return 1
    done
}

version_works() {
    ends 0 nq --version && says out "^netqueue [0-9]" && ends 0 nq -V
}

usage_codes() {
    ends 2 nq && ends 2 nq nothing && says err 'nothing' &&
        ends 2 nq put && says err '^netqueue: put: -c FILE is missing' &&
        ends 2 nq get && ends 2 nq check && ends 2 nq put -c client.json --no-such &&
        ends 2 nq put -c client.json --timeout soon && ends 2 nq put -c client.json --to me &&
        ends 2 nq get -c server.json operand && ends 2 nq get -c server.json --lines -o dir &&
        ends 2 nq transports a b && ends 2 nq bench && ends 2 nq bench rtt &&
        ends 2 nq bench no-such-job --transport tcp &&
        ends 2 nq bench mix --transport tcp --size 5 && ends 2 nq bench rtt -t tcp --pin 1
}

manual_pages() {
    for page in "" $commands; do
        file=$top_srcdir/docs/netqueue${page:+-$page}.1
        [ -s "$file" ] || { echo "$file is missing"; return 1; }
        case $page in "") continue ;; esac
        # every long option of the command stands in its page
        for option in $("$NETQUEUE" "$page" --help | grep -o -e '^ .*--[a-z-]*' | grep -o -e '--[a-z-]*'); do
            sed 's/\\//g; s/\\fR, \\fP//g' "$file" | grep -q -e "$option" ||
                { echo "$file does not have $option"; return 1; }
        done
    done
    [ -s "$top_srcdir/docs/netqueue.conf.5" ]
}

check "every command has --help" help_works
check "there is a version" version_works
check "a wrong command line ends with 2" usage_codes
check "every command has a manual page with all its options" manual_pages

# ---- check and transports ---------------------------------------------------------------------

config wrong.json server ', "qeue": {}, "queue": {"policy": "maybe"}'

checks_right() {
    ends 0 nq check -c server.json && says out 'no problems' &&
        ends 0 nq check -c client.json --json && says out '"problems": \[\]'
}

checks_wrong() {
    ends 1 nq check -c wrong.json && says out 'qeue' && says out '/queue/policy' &&
        ends 1 nq check -c wrong.json --json && says out '"path": "/queue/policy"'
}

checks_broken() {
    echo '{"purpose": ' >broken.json
    ends 1 nq check -c broken.json && ends 3 nq check -c missing.json &&
        says out "^missing.json: cannot open"
}

# Each transport that is built knows the examples that are named after it.
checks_examples() {
    for libs in "$top_builddir"/plugins/*/.libs; do
        name=$(basename "$(dirname "$libs")")
        for file in "$top_srcdir/config/$name.json" "$top_srcdir/config/$name"-*.json; do
            [ ! -e "$file" ] || (NETQUEUE_PLUGIN_PATH=$libs && ends 0 nq check -c "$file") ||
                return 1
        done
    done
}

config wrong_key.json server ', "qeue": {}'

wrong_key_stops() {
    ends 3 nq put -c wrong_key.json /dev/null && says err '^netqueue: put: .*qeue' &&
        ends 3 nq get -c wrong_key.json
}

missing_config() {
    ends 3 nq put -c missing.json /dev/null && says err 'missing.json' &&
        ends 3 nq get -c missing.json && says err 'missing.json'
}

lists_transports() {
    ends 0 nq transports && says out '^NAME' && says out '^tcp ' &&
        ends 0 nq transports --json && says out '"name": "tcp"' &&
        ends 0 nq transports tcp && says out '^capabilities: ..*' && says out '^  port (' &&
        ends 0 nq transports tcp --json && says out '"options": \[{"name": '
}

unknown_transport() {
    ends 3 nq transports no-such && says err 'no-such' &&
        sed 's/"tcp"/"no-such"/' client.json >other.json &&
        ends 3 nq put -c other.json /dev/null && says err 'no-such'
}

# One line that says what to do, from each command.
absent_package() {
    for name in mqtt grpc; do
        sed "s/\"tcp\"/\"$name\"/" client.json >absent.json
        (
            NETQUEUE_PLUGIN_PATH=$tap_tmp # where there is none
            ends 1 nq check -c absent.json && says out "install the package netqueue-transport-$name" &&
                [ "$(wc -l <out)" -eq 1 ] && ends 3 nq put -c absent.json /dev/null &&
                says err "install the package netqueue-transport-$name" && [ "$(wc -l <err)" -eq 1 ]
        ) || return 1
    done
}

check_says_why() {
    ends 4 nq check -c client.json --connect --timeout 1s &&
        says out 'tcp: \(failing: .*is the server running?\|connecting\)' &&
        ends 4 nq check -c client.json --connect --timeout 1ms --json &&
        says out '"connected": false, .*"transports": \[{"transport": "tcp", "health": "'
}

# Its transport is well, and the server is there: it wants a key.
check_names_the_refusal() {
    (umask 077 && echo '{"key": "e0c35a7d914b2f680c8ed3a5b7f41926"}' >keys.json)
    config keyed.json server ', "security": {"psk": "keys.json"}'
    "$NETQUEUE" get -c keyed.json --timeout 60s >keyed.out 2>&1 &
    getter=$!
    wanted='the server asks for a pre-shared key'
    ends 4 nq check -c client.json --connect --timeout 2s &&
        says out "client.json: refused: not authenticated: $wanted" &&
        ends 4 nq check -c client.json --connect --timeout 2s --json &&
        says out "\"connected\": false, \"refused\": \"not authenticated: $wanted"
    failed=$?
    kill "$getter"
    wait "$getter"
    return "$failed"
}

check_listens() {
    ends 0 nq check -c server.json --connect && says out "tcp: ready: .*:$port" &&
        ends 0 nq check -c server.json --connect --json && says out '"connected": true'
}

check_connects() {
    start_get -n 1 >connected 2>get.err
    ends 0 nq check -c client.json --connect --timeout 60s && says out "tcp: ready: .*:$port" &&
        ends 0 nq check -c client.json --connect --timeout 60s --json &&
        says out '"connected": true.*"health": "ready"' &&
        ends 1 nq check -c server.json --connect && says out 'in use' &&
        ends 0 nq put -c client.json --timeout 60s wrong.json && got 0
}

# The first that works, and why not the one before it.
check_chooses() {
    printf '{"purpose": "client", "transports": [{"transport": "no-such", "way": 1},
        {"transport": "tcp", "host": "127.0.0.1", "port": %s}]}' "$port" >choose.json
    start_get -n 1 >connected 2>get.err
    ends 1 nq check -c choose.json && says out '/transports/0/transport: .*not installed' &&
        ends 0 nq check -c choose.json --connect --timeout 60s &&
        says out "connected over tcp: .*:$port; not over no-such: .*not installed" &&
        says out 'no-such: closed: .*install the package netqueue-transport-no-such' &&
        ends 0 nq check -c choose.json --connect --timeout 60s --json &&
        says out '"over": "tcp", "connected": true' && ends 0 nq put -c choose.json wrong.json &&
        got 0
}

check "check finds nothing in a good file" checks_right
check "check names every problem with its place" checks_wrong
check "check tells a broken file from a missing one" checks_broken
check "the examples of every transport are right" checks_examples
check "check --connect says why there is no connection" check_says_why
check "check --connect says why the server refuses" check_names_the_refusal
check "check --connect has a server listen" check_listens
check "check --connect finds the server, and does it no harm" check_connects
check "check --connect says which transport it is, and why" check_chooses
check "a wrong key stops put and get with 3" wrong_key_stops
check "a missing configuration stops put and get with 3" missing_config
check "transports lists and describes" lists_transports
check "an unknown transport is 3 and is named" unknown_transport
check "without a transport's package one line says which one" absent_package

# ---- files ----------------------------------------------------------------------------------------

one_file() { # FILE: to standard output and back
    start_get -n 1 >copy 2>get.err
    ends 0 nq put -c client.json "$1" && got 0 && same "$1" copy
}

head -c 1000000 /dev/urandom >random
: >empty
printf 'a\000b\377\n' >binary
head -c 104857600 /dev/urandom >large

check "a file of random bytes arrives" one_file random
check "an empty file arrives" one_file empty
check "binary bytes arrive as they are" one_file binary
check "a file of 100 MiB arrives" one_file large
rm -f large copy

standard_input() {
    start_get -n 2 -o input 2>get.err
    ends 0 nq put -c client.json <random && ends 0 nq put -c client.json - <empty && got 0 &&
        same random input/1.bin && same empty input/2.bin
}

numbers_do_not_replace() {
    start_get -n 1 -o input 2>get.err
    ends 0 nq put -c client.json - <binary && got 0 && same random input/1.bin &&
        same binary input/3.bin
}

names() {
    mkdir -p src/sub/deep
    newline=$(printf 'new\nline')
    for name in plain 'with space' "$newline" '-dash' '.hidden' 'größe' sub/inner sub/deep/x; do
        echo "this is $name" >"src/$name"
    done
    ln -s plain src/link
    start_get -n 8 -o dst 2>get.err
    ends 0 nq put -c client.json -r src && says err 'link: skipped' && got 0 &&
        rm src/link && diff -r src dst
}

names_of_operands() {
    start_get -n 2 -o flat --json >get.out 2>get.err
    ends 0 nq put -c client.json --json src/sub/deep/x "$tap_tmp/binary" && got 0 &&
        says out '"delivered": 2' && says out '"failures": \[\]' &&
        says get.out '"name": "x", "file": "x"' && same binary flat/binary && same src/sub/deep/x flat/x
}

replaces() {
    echo old >flat/binary
    start_get -n 1 -o flat 2>get.err
    ends 0 nq put -c client.json binary && got 0 && same binary flat/binary
}

unreadable_files() {
    start_get -n 1 -o some 2>get.err
    ends 1 nq put -c client.json missing src binary && says err '^netqueue: put: missing: ' &&
        says err 'src: is a directory' && got 0 && same binary some/binary &&
        ends 1 nq put -c client.json missing
}

hostile_names() {
    mkdir outside
    mkdir -p inside/real
    ln -s ../outside inside/link
    mkdir inside/folder
    start_get -n 14 -o inside 2>get.err
    "$top_builddir/tests/support/put_names" client.json ../up /abs "$tap_tmp/abs" .. . '' 'a/../../b' \
        'nul%00byte' 'real/../../c' link/through folder 'a//b' 'end/' good/name || return 1
    got 1 && [ "$(cat inside/good/name)" = hostile ] || return 1
    [ "$(find inside -name '*.bin' | wc -l)" -eq 13 ] || { ls -lR inside; return 1; }
    [ -z "$(ls -A outside)" ] && [ ! -e up ] && [ ! -e abs ] && [ ! -e b ] && [ ! -e c ] &&
        [ ! -e /abs ] && [ -z "$(find inside -name '*.part')" ] && says get.err 'is refused'
}

check "standard input becomes a message without a name" standard_input
check "a number that is taken is left alone" numbers_do_not_replace
check "names and sub-folders arrive" names
check "an operand travels under its last component" names_of_operands
check "an existing file is replaced" replaces
check "what cannot be read is named, the rest is sent" unreadable_files
if [ -x "$top_builddir/tests/support/put_names" ]; then
    check "a hostile name never leaves the directory" hostile_names
else
    skip "a hostile name never leaves the directory" "tests/support/put_names is not built"
fi

# ---- lines ------------------------------------------------------------------------------------------

lines() {
    { seq 1 2000; echo; echo '  spaces  '; printf 'no newline'; } >text
    start_get -n 2003 --lines >copy 2>get.err
    ends 0 nq put -c client.json --lines text && got 0 || return 1
    echo >>text
    same text copy
}

lines_from_pipe() {
    start_get -n 3 --lines >copy 2>get.err
    printf 'a\nb\n\n' >text
    ends 0 nq put -c client.json --lines --json <text && says out '"messages": 3' && got 0 &&
        same text copy
}

check "lines arrive in order" lines
check "lines of standard input arrive, empty ones too" lines_from_pipe

# ---- a server that puts --------------------------------------------------------------------------------

server_puts() {
    nq get -c client.json -n 1 >copy1 2>get1.err &
    one=$!
    nq get -c client.json -n 1 >copy2 2>get2.err &
    two=$!
    ends 0 nq put -c server.json --wait-peers 2 --json random && says out '"delivered": 2' &&
        wait "$one" && wait "$two" && same random copy1 && same random copy2
}

server_puts_to_one() {
    config named.json client ', "id": "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e"'
    "$NETQUEUE" get -c client.json --timeout 60s >copy1 2>get1.err &
    one=$!
    nq get -c named.json -n 1 >copy2 2>get2.err &
    two=$!
    ends 0 nq put -c server.json --wait-peers 2 --to 6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e binary
    verdict=$?
    wait "$two" && same binary copy2 && [ ! -s copy1 ] || verdict=1
    kill -INT "$one"
    wait "$one"
    return "$verdict"
}

check "a server puts to all its clients" server_puts
check "a server puts to the one that is named" server_puts_to_one

# ---- what goes wrong --------------------------------------------------------------------------------------

# A receiver that writes into descriptor 3.
start_reader() { # options of get
    mkfifo output.fifo
    "$NETQUEUE" get -c server.json --timeout 60s "$@" >output.fifo 2>get.err &
    getter=$!
    exec 3<output.fifo
    rm output.fifo
}

port_in_use() {
    start_reader --lines
    echo up | nq put -c client.json --lines || return 1
    read -r line <&3
    [ "$line" = up ] && ends 3 nq get -c server.json --timeout 5s && says err "$port"
    verdict=$?
    kill -INT "$getter"
    got 130 || verdict=1
    exec 3<&-
    return "$verdict"
}

# Why, it knows once it has tried: on a machine that is busy, with more time.
refused_with_reason() {
    for time in 300ms 3s 30s; do
        ends 4 nq put -c client.json --timeout $time random && says err 'time-out' || return 1
        says err 'refused' && break
    done
}

refused() {
    refused_with_reason && says err '0 of 1 messages were delivered' &&
        ends 4 nq get -c client.json --timeout 300ms && says err 'time-out' &&
        ends 4 nq put -c server.json --timeout 300ms random && says err "no client has connected" &&
        ends 4 nq put -c client.json --timeout 300ms --json random && says out '"delivered": 0'
}

unknown_peer() {
    start_get 2>get.err >copy
    ends 4 nq put -c client.json --to 00000000-0000-4000-8000-000000000001 --timeout 300ms binary
    verdict=$?
    kill -INT "$getter"
    got 130 || verdict=1
    return "$verdict"
}

# A sender that reads a FIFO, so that the test decides when it goes on.
start_put() { # options of put
    mkfifo input.fifo
    "$NETQUEUE" put -c client.json --lines "$@" <input.fifo >put.out 2>put.err &
    putter=$!
    exec 4>input.fifo
    rm input.fifo
}

interrupted_put() {
    start_reader --lines
    start_put
    echo one >&4
    read -r line <&3
    kill -INT "$putter"
    wait "$putter"
    verdict=$?
    exec 4>&-
    kill -INT "$getter"
    got 130 && [ "$line" = one ] && [ "$verdict" -eq 130 ] && says put.err 'interrupted: 1 of 1'
}

interrupted_get() {
    start_get --lines >copy 2>get.err
    seq 1 500 >text
    ends 0 nq put -c client.json --lines text || return 1
    kill -INT "$getter"
    got 130 && same text copy
}

# A signal before exec would end the shell's copy by its own trap, so the put's own words are waited
# for: it has been refused once and goes on trying.
interrupted_waiting() {
    mkfifo words.fifo
    NETQUEUE_LOG=info "$NETQUEUE" put -c client.json --timeout 60s random 2>words.fifo &
    putter=$!
    exec 3<words.fifo
    rm words.fifo
    until [ "${line:-}" = refused ]; do
        read -r line <&3 || break
        case $line in *refused*) line=refused ;; esac
    done
    kill -INT "$putter"
    wait "$putter"
    verdict=$?
    exec 3<&-
    [ "$verdict" -eq 130 ] || { echo "exit code $verdict"; return 1; }
}

closed_output() {
    { nq get -c server.json -n 2 2>get.err; echo $? >code; } | true &
    getter=$!
    nq put -c client.json random random 2>err
    wait "$getter"
    [ "$(cat code)" -eq 1 ] && says get.err 'standard output: Broken pipe'
}

to_full_disk() { # COMMAND...
    "$@" >/dev/full
}

no_output() {
    start_get -n 1 >&- 2>get.err
    nq put -c client.json random 2>err
    got 1 && says get.err 'standard output' && ends 1 to_full_disk nq transports
}

server_killed() {
    start_reader --lines
    start_put --timeout 3s
    echo one >&4
    read -r line <&3
    kill -KILL "$getter"
    wait "$getter" 2>/dev/null
    echo two >&4
    exec 4>&-
    wait "$putter"
    verdict=$?
    [ "$line" = one ] && { [ "$verdict" -eq 1 ] || [ "$verdict" -eq 4 ]; } && says put.err 'line 2'
}

server_killed_in_message() {
    head -c 268435456 /dev/zero >zeros
    start_reader
    nq put -c client.json --timeout 3s binary zeros zeros zeros zeros 2>put.err &
    putter=$!
    head -c 1 <&3 >first # the transfer is under way
    kill -KILL "$getter"
    wait "$getter" 2>/dev/null
    wait "$putter"
    verdict=$?
    exec 3<&-
    rm -f zeros
    { [ "$verdict" -eq 1 ] || [ "$verdict" -eq 4 ]; } && says put.err 'zeros'
}

full_disk() {
    [ -w /dev/full ] || return 0
    start_get -n 1 >/dev/full 2>get.err
    nq put -c client.json random 2>err
    got 1 && says get.err 'No space left'
}

too_large() {
    config small.json client ', "limits": {"max_message": "64KiB"}'
    start_get -n 1 -o limited 2>get.err
    ends 1 nq put -c small.json random binary && says err '^netqueue: put: random: not delivered' &&
        got 0 && same binary limited/binary && [ ! -e limited/random ]
}

too_large_there() {
    config small.json server ', "limits": {"max_message": "64KiB"}'
    "$NETQUEUE" get -c small.json --timeout 60s -n 1 -o limited2 2>get.err &
    getter=$!
    ends 1 nq put -c client.json random && says err '^netqueue: put: random to ' &&
        ends 0 nq put -c client.json binary && got 0 && same binary limited2/binary &&
        [ ! -e limited2/random ]
}

# Nobody is there at first, or a fast machine would be done before it had anything to show.
bar() {
    : >out
    TERM=xterm script -qec "$NETQUEUE put -c client.json random" /dev/null >>out </dev/null &
    putter=$!
    shown=$(tail -c +1 -f --pid="$putter" out | head -c 11)
    [ "$shown" = "$(printf '\rconnecting')" ] || return 1
    start_get -n 1 >copy 2>get.err
    wait "$putter" && got 0
}

no_bar() {
    start_get -n 2 >copy 2>get.err
    ends 0 nq put -c client.json random && [ ! -s err ] && [ ! -s out ] || return 1
    TERM=xterm script -qec "$NETQUEUE put -c client.json --quiet random" /dev/null >out </dev/null &&
        got 0 && [ ! -s out ] && [ ! -s get.err ]
}

check "a message beyond the sender's limit is named, the rest arrives" too_large
check "a message beyond the receiver's limit is named, and the next arrives" too_large_there
if command -v script >/dev/null; then
    check "a terminal shows how far it is" bar
    check "a pipe shows none, nor does --quiet" no_bar
else
    skip "a terminal shows how far it is" "script is not installed"
fi
check "a port in use is 3 and is named" port_in_use
check "no connection within the time-out is 4, and why" refused
check "a peer that never comes is 4" unknown_peer
check "an interrupted put ends with 130" interrupted_put
check "an interrupted get ends with 130 and has written everything" interrupted_get
check "a put that waits for a connection can be interrupted" interrupted_waiting
check "a closed pipe behind get is 1" closed_output
check "a standard output that is closed is 1" no_output
check "a full disk behind get is 1" full_disk
check "a server killed between messages: put says what was not delivered" server_killed
check "a server killed within a message: put says what was not delivered" server_killed_in_message

# ---- bench --------------------------------------------------------------------------------------------------

bench_keys() {
    ends 0 nq bench rtt --transport tcp --size 64 --count 200 --json || return 1
    for key in transport job size count p50_us p99_us p999_us cpu_us_per_message messages_per_s \
        bytes_per_s peak_rss_bytes seconds; do
        says out "\"$key\": " || return 1
    done
    [ "$(wc -l <out)" -eq 1 ]
}

bench_jobs() {
    for policy in block fail; do
        for job in rtt oneway both sync async; do
            for size in 1 64 4096 5000000; do
                ends 0 nq bench "$job" --transport tcp --size "$size" --count 20 --policy "$policy" ||
                    return 1
            done
        done
        ends 0 nq bench mix --transport tcp --max-exponent 20 --policy "$policy" || return 1
    done
}

bench_foreign() {
    ends 2 nq bench oneway --transport tcp --foreign && says err 'foreign is for rtt' &&
        ends 0 nq bench rtt --transport tcp --count 50 --foreign --spin off && says out 'p50'
}

# Options of the transport below stand beside those of the one on top.
bench_stands_on_another() {
    [ -e "$top_builddir/plugins/fault/.libs/fault.so" ] || return 0
    NETQUEUE_PLUGIN_PATH=$NETQUEUE_PLUGIN_PATH:$top_builddir/plugins/fault/.libs \
        ends 0 nq bench rtt --transport fault --count 50 -o inner=tcp -o port="$(free_port)" \
        -o cut=1000 -o after_min=1KiB -o after_max=1KiB
}

bench_paced() {
    ends 2 nq bench rtt --transport tcp --rate 5 && says err 'rate is for paced' &&
        ends 2 nq bench paced --transport tcp --rate 1000000000 && says err 'at most' &&
        ends 0 nq bench paced --transport tcp --rate 2000 --count 200 && says out 'after due' &&
        says out 'p99.9' && ends 0 nq bench paced --transport tcp --rate 100000 --count 500 --json &&
        ! grep -q null out
}

# A schedule is kept: a hundred messages at a thousand a second cannot take less than their time.
bench_keeps_its_pace() {
    ends 0 nq bench paced --transport tcp --rate 1000 --count 100 --warmup 1 --json &&
        sed -n 's/.*"messages_per_s": \([0-9]*\).*/\1/p' out | {
            read -r rate && [ "$rate" -le 1100 ]
        }
}

# Whether they share one or not; more than one thread each.
bench_pinned() {
    [ "$(nproc)" -gt 1 ] && two=0,1 || two=0,0
    for cpus in 0,0 "$two"; do
        ends 0 nq bench oneway --transport tcp --count 500 --pin "$cpus" && [ ! -s err ] || return 1
    done
}

bench_window() {
    ends 2 nq bench rtt --transport tcp --window 5 && says err 'window is for oneway' || return 1
    for window in 1 2 7 1000; do
        ends 0 nq bench oneway --transport tcp --count 500 --window "$window" || return 1
    done
}

bench_fails() {
    ends 3 nq bench rtt --transport no-such && says err 'no-such' &&
        ends 3 nq bench rtt --transport tcp --option no-such=1 && says err 'no-such'
}

# At once, and not when a client has looked for its server for as long as it is let.
bench_needs_two_processes() {
    ends 2 nq bench rtt --transport loop && says err 'loop works within one process only' &&
        ends 2 nq bench rtt --transport fault -o inner=loop && says err 'within one process only'
}

bench_small_limits() {
    ends 0 nq bench sync --transport tcp --size 2MiB --count 20 --queue-bytes 8MiB --credit 8MiB \
        --spin off --json
}

check "bench prints all keys in one line of JSON" bench_keys
check "bench runs every job with every kind of message" bench_jobs
check "bench runs with small limits" bench_small_limits
check "bench puts on another thread than it waits on" bench_foreign
check "bench waits for answers to a window" bench_window
check "bench sends by a schedule and says how late each message came" bench_paced
check "bench keeps to its schedule" bench_keeps_its_pace
check "bench pins its processes" bench_pinned
check "bench measures a transport that stands on another" bench_stands_on_another
check "bench says what is wrong with a transport" bench_fails
check "bench says that loop is no way between two processes" bench_needs_two_processes

tap_done
