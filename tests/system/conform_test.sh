#!/bin/sh
# Every transport of ours, and one from outside of the tree, keeps the rules that `netqueue conform`
# tries; and what the command says to whoever uses it wrongly.
. "${top_srcdir:-.}/tests/support/tap.sh"
. "$top_srcdir/tests/support/command.sh"

broker=
end_broker() {
    [ -n "$broker" ] || return 0
    kill "$broker" 2>/dev/null
    wait "$broker"
    broker=
}
trap 'end_broker; rm -rf "$tap_tmp"' EXIT

# A broker on a free port; `port` is its.
start_broker() {
    PATH=$PATH:/usr/sbin:/usr/local/sbin
    command -v mosquitto >/dev/null || return 1
    port=$(free_port)
    printf 'listener %s 127.0.0.1\nallow_anonymous true\npersistence false\n%s\n%s\n' "$port" \
        'set_tcp_nodelay true' 'log_dest stderr' >broker.conf
    mosquitto -c broker.conf >broker.log 2>&1 &
    broker=$!
    until grep -qi ":$(printf %04x "$port") 00000000:0000 0A" /proc/net/tcp; do
        kill -0 "$broker" || return 1
    done
}

plugin_of() { # name
    echo "$top_builddir/plugins/$1/.libs/$1.so"
}

# What a try waits for, on a machine that does other things as well.
patience=60s

# What the broker said of what it dropped, and of connections that did not end in good order.
tell_of_the_broker() {
    [ -z "$broker" ] || grep -a -v ': New c\|: Client .* disconnected\.$' broker.log | tail -n 30 |
        sed 's/^/broker: /'
}

# All rules hold, and the output is TAP from its plan to its last line.
all_hold() { # option...
    timeout --foreground -k 5 600 "$NETQUEUE" conform --timeout "$patience" "$@" >out 2>err
    code=$?
    if grep -A 1 '^not ok' out; then
        tell_of_the_broker
        return 1
    fi
    # Such a report does not end the try that it is about.
    grep -a -A 30 'WARNING: .*Sanitizer\|ERROR: .*Sanitizer\|runtime error:' err && return 1
    [ "$code" -eq 0 ] || {
        echo "exit code $code"
        cat out err
        return 1
    }
    [ "$(grep -c '^ok' out)" -eq "$(sed -n 's/^1\.\.//p' out)" ]
}

# keeps NAME WHAT OPTION...: the transport does, if it was built.
keeps() {
    name=$1
    title="$1$2 keeps the rules"
    shift 2
    if [ -e "$(plugin_of "$name")" ]; then
        check "$title" all_hold "$(plugin_of "$name")" "$@"
    else
        skip "$title" "not built"
    fi
}

# stands NAME WHAT OPTION...: fault does, on this one.
stands() {
    if [ -e "$(plugin_of "$1")" ]; then
        inner=$1
        shift
        keeps fault " on $inner" --inner "$(plugin_of "$inner")" "$@"
    else
        skip "fault on $1 keeps the rules" "not built"
    fi
}

here='"both": {"host": "127.0.0.1"}, "server": {"port": 0}'
tcp="{$here, \"tiny\": {\"receive_buffer\": 2048, \"send_buffer\": 4096}}"
grpc="{$here, \"tiny\": {\"message\": \"4KiB\", \"send_queue\": \"4KiB\"}}"
# shellcheck disable=SC2016 # the command puts a folder there
shm='{"both": {"path": "$DIR/socket"}, "tiny": {"cells": 8, "ring": 1024}}'
# shellcheck disable=SC2016
unixsock='{"both": {"path": "$DIR/socket"}}'

keeps tcp "" --config "$tcp"
keeps loop "" --config '{"tiny": {"slots": 3}}'
keeps shm "" --config "$shm"
keeps grpc "" --config "$grpc"
if start_broker; then
    # A machine that stands still for a while is no rule that is broken: it may do so for longer than a
    # connection to the broker takes, and than the broker waits for a sign of life.
    keeps mqtt "" --config "{\"both\": {\"port\": $port, \"user\": \"conform\",
        \"connect_timeout\": \"60s\", \"keepalive\": \"300s\"},
        \"tiny\": {\"window\": \"8KiB\", \"packet\": \"2KiB\"}}"
    end_broker
else
    skip "mqtt keeps the rules" "no mosquitto"
fi
stands tcp --config "$tcp"
stands loop --config '{"tiny": {"slots": 1}}'
stands shm --config "$shm"

# Both have certificates of one authority.
make_certificates() {
    new='openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
    # shellcheck disable=SC2086 # words
    $new -keyout ca.key -out ca.pem -subj /CN=authority >made.log 2>&1 &&
        $new -CA ca.pem -CAkey ca.key -keyout me.key -out me.pem -subj /CN=me \
            -addext subjectAltName=IP:127.0.0.1 >>made.log 2>&1
}
if command -v openssl >/dev/null && make_certificates; then
    tls="\"host\": \"127.0.0.1\", \"tls\": {\"ca\": \"$PWD/ca.pem\", \"cert\": \"$PWD/me.pem\",
        \"key\": \"$PWD/me.key\"}"
    keeps tcp " with certificates" --config "{\"both\": {$tls}, \"server\": {\"port\": 0},
        \"tiny\": {\"receive_buffer\": 2048, \"send_buffer\": 4096}}"
    keeps grpc " with certificates" --config "{\"both\": {$tls}, \"server\": {\"port\": 0},
        \"tiny\": {\"message\": \"4KiB\", \"send_queue\": \"4KiB\"}}"
else
    skip "tcp and grpc with certificates keep the rules" "no openssl"
fi

check "a transport from outside of the tree keeps the rules" \
    all_hold "$top_builddir/tests/outside/.libs/unixsock.so" --config "$unixsock"

# ---- what it says --------------------------------------------------------------------------

refuses() { # code, pattern, argument...
    want=$1
    pattern=$2
    shift 2
    ends "$want" nq conform "$@" && says err "$pattern"
}

echo 'no plugin' >text.so
printf '{' >broken.json
check "a file that is not there is named" refuses 3 'absent.so: No such file' absent.so
check "a file that is no library is told so" refuses 3 'text.so: ' text.so
check "a library that is no transport is told so" \
    refuses 3 'it is no transport: it has no symbol libnetqueue_LTX' \
    "$top_builddir/.libs/libnetqueue.so"
check "no file is wrong usage" refuses 2 'one FILE.so is needed'
if [ -e "$(plugin_of loop)" ]; then
    loop=$(plugin_of loop)
    check "a rule that does not exist is wrong usage" refuses 2 'no rule "colour"' \
        --rule colour "$loop"
    check "a configuration that is no JSON is an error with its line" \
        refuses 3 'broken.json: line 1' --config broken.json "$loop"
    check "a configuration with a word of its own is an error" refuses 3 '"sever"' \
        --config '{"sever": {}}' "$loop"
    check "an option that the transport does not have is an error" \
        refuses 3 'loop has no option "colour"' --config '{"both": {"colour": "red"}}' "$loop"
    check "one rule can be tried alone" all_hold --rule close-early "$loop"
    check "and then is the only one" test "$(head -n 1 out)" = 1..1
fi
check "the rules can be listed" ends 0 nq conform --rules

# The manual has them all, in their order.
same_in_the_manual() {
    awk '{ print $1 }' out >rules
    sed -n '/^\.SH RULES/,/^\.SH "EXIT/s/^\.B \(.*\)/\1/p' "$top_srcdir/docs/netqueue-conform.1" |
        sed 's/\\//g' | diff rules -
}
check "the manual has the same rules" same_in_the_manual
tap_done
