#!/bin/sh
# Processes with tcp, grpc and mqtt at the same time, watched from their first instruction to their
# last, by valgrind or by the sanitizers that they are built with: what three queues and their
# libraries leave behind when they are closed, and when the process ends without a word.  Of what
# valgrind finds nothing is suppressed, neither of ours nor of the libraries.
. "${top_srcdir:-.}/tests/support/tap.sh"
program=$top_builddir/tests/support/three_ways
[ -x "$program" ] || skip_all "$program is not built"
[ -n "$NQ_FLAGS" ] || command -v valgrind >/dev/null || skip_all "valgrind is not installed"
PATH=$PATH:/usr/sbin
command -v mosquitto >/dev/null || skip_all "mosquitto is not installed"
plugins=
for name in tcp grpc mqtt; do
    [ -e "$top_builddir/plugins/$name/.libs/$name.so" ] || skip_all "$name is not built"
    plugins=$plugins${plugins:+:}$top_builddir/plugins/$name/.libs
done
export NETQUEUE_PLUGIN_PATH="$plugins" NETQUEUE_PLUGIN_UNSAFE=1
tap_mktemp
cd "$tap_tmp" || exit 99

tcp=$(free_port)
grpc=$((tcp + 1))
mqtt=$((tcp + 2))

# watched LOG WORD: the program in that role, to its end.
watched() {
    watched_log=$1
    shift
    set -- "$program" "$@" "$tcp" "$grpc" "$mqtt"
    [ -n "$NQ_FLAGS" ] ||
        set -- valgrind --log-file="$watched_log" --num-callers=30 --leak-check=full \
            --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=9 "$@"
    "$top_builddir/libtool" --mode=execute timeout -k 5 120 "$@"
}

# clean CODE LOG: it did what it should, and nobody has anything to say.
clean() {
    [ "$1" -eq 0 ] && { [ -n "$NQ_FLAGS" ] || grep -q 'ERROR SUMMARY: 0 errors' "$2"; } && return
    echo "exit code $1"
    [ -n "$NQ_FLAGS" ] || grep '^==' "$2" | head -60
    return 1
}

watched quit.log quit >quit.out 2>&1
quit_code=$?

printf 'listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\n' "$mqtt" >broker.conf
mosquitto -c broker.conf >broker.log 2>&1 &
started $!
watched server.log server >server.out 2>&1 &
server=$!
started $server
watched client.log client >client.out 2>&1
client_code=$?
wait "$server"
server_code=$?

cat quit.out server.out client.out | note
check "a server of three transports leaves nothing behind" clean "$server_code" server.log
check "a client with three queues leaves nothing behind" clean "$client_code" client.log
check "a process that ends while three queues try to connect ends clean" clean "$quit_code" quit.log
tap_done
