#!/bin/sh
# netqueue stats as an operator meets it: what a running queue tells, in each format, and what is said
# when nobody tells anything.
. "${top_srcdir:-.}/tests/support/tap.sh"
. "$top_srcdir/tests/support/command.sh"

socket=$PWD/queue.stats
two_sides ", \"stats\": {\"socket\": \"$socket\"}"

asks() { # OPTION...
    ends 0 nq stats "$socket" "$@"
}

table_works() {
    asks && says out '^queue      [0-9a-f-]*, a server$' && says out "^process    $server, netqueue " &&
        says out '^messages_in         1$' && says out '^connects            1$' &&
        says out "^tcp  *ready .*127.0.0.1:$port\$" && ! grep -q '^PEER' out && [ ! -s err ]
}

peers_work() {
    # Until it is there.
    until nq stats "$socket" --peers >out 2>err && grep -q ' up  *tcp ' out; do
        kill -0 "$putter" || return 1
    done
    says out '^PEER ' && asks --openmetrics --peers && cp out metrics &&
        says out '^netqueue_peer_up{peer="[0-9a-f-]*"} 1$' && says out '^# EOF$'
}

json_works() {
    asks --json && [ "$(wc -l <out)" -eq 1 ] && python3 - out "$server" <<'END'
import json, sys

document = json.load(open(sys.argv[1]))
assert document["netqueue"] == "stats" and document["format"] == 1, document
assert document["pid"] == int(sys.argv[2]), document
assert document["stats"]["messages_in"] >= 1, document
assert document["transports"][0]["state"] == "ready", document
END
}

# The parser that Prometheus's own library has, in Debian's Python: any other may not see the package.
parser() {
    for python in python3 /usr/bin/python3; do
        "$python" -c 'import prometheus_client.openmetrics.parser' 2>/dev/null && echo "$python" && return
    done
    return 1
}

metrics_parse() {
    "$python" - metrics out <<'END'
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = {family.name: family for family in text_string_to_metric_families(open(sys.argv[1]).read())}
assert families["netqueue"].type == "info"
assert families["netqueue_sent_bytes"].type == "counter"
assert families["netqueue_sent_bytes"].unit == "bytes"
assert families["netqueue_unread_messages"].type == "gauge"
assert all(family.documentation for family in families.values()), families
# Each number of the document is some sample: as many as its leaves.
stats = json.load(open(sys.argv[2]))["stats"]
leaves = sum(len(value) if isinstance(value, dict) else 1 for value in stats.values())
samples = sum(
    len(family.samples)
    for name, family in families.items()
    if not name.startswith(("netqueue_peer_", "netqueue_transport_"))
)
assert samples == leaves + 2, (samples, leaves)  # and info, and uptime
END
}

watch_goes_on() {
    mkfifo watched
    "$NETQUEUE" stats "$socket" --json --watch 10ms >watched 2>watch.err &
    watcher=$!
    head -n 3 watched >three || return 1
    [ "$(grep -c '"netqueue": "stats"' three)" -eq 3 ] || return 1
    kill -INT "$watcher" 2>/dev/null
    wait "$watcher"
    code=$?
    # Interrupted, or its reader was gone first.
    [ "$code" -eq 130 ] || [ "$code" -eq 1 ] || [ "$code" -eq 141 ]
}

a_closed_queue_has_no_socket() {
    [ "$server_ended" -eq 0 ] && [ ! -e "$socket" ] && ends 4 nq stats "$socket" && says err 'is not there: is the program running'
}

# ---- nobody there, or somebody else -----------------------------------------------------------

usage_codes() {
    ends 2 nq stats && says err 'SOCKET is missing' && ends 2 nq stats a b &&
        ends 2 nq stats a --json --openmetrics && ends 2 nq stats a --openmetrics --watch 1 &&
        ends 2 nq stats a --watch forever && ends 2 nq stats a --watch soon
}

no_socket() {
    echo text >file
    ends 4 nq stats file && says err 'file is no socket' && ends 4 nq stats "$PWD/none/there" &&
        says err 'is not there' && ends 4 nq stats "$(printf '%0120d' 0)" && says err 'File name too long'
}

# serve NAME CODE: a listener at NAME that runs Python's CODE with `peer`, for one connection.
serve() {
    rm -f ready
    mkfifo ready
    python3 -c "
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.$3)
s.bind('$1')
s.listen()
open('ready', 'w').close()
peer = s.accept()[0]
$2" &
    fake=$!
    cat ready
}

answers() { # CODE WANT PATTERN OPTION...
    serve fake "$1" SOCK_STREAM
    want=$2
    pattern=$3
    shift 3
    ends "$want" nq stats fake "$@"
    failed=$?
    says err "$pattern" || failed=1
    kill "$fake" 2>/dev/null
    wait "$fake" 2>/dev/null
    ends 4 nq stats fake && says err 'nobody listens at fake: the process that made it has ended' || failed=1
    rm fake
    return "$failed"
}

something_else() {
    answers "peer.sendall(b'HTTP/1.0 400 no')" 1 'no queue of netqueue'
    answers "peer.sendall(b'{\"netqueue\": \"other\"}\n')" 1 'no queue of netqueue' &&
        answers "peer.sendall(b'{\"netqueue\": \"stats\", \"format\": 2}\n')" 1 'no queue of netqueue' &&
        answers "peer.sendall(b'{\"netqueue\": \"stats\", \"for')" 1 'the answer is cut off' &&
        answers "peer.close()" 1 'closed without an answer' &&
        answers "peer.sendall(b'['*3000000)" 1 'no queue of netqueue' &&
        answers "peer.recv(1)" 4 'no answer in time' --timeout 50ms
}

another_kind_of_socket() {
    serve fake "" SOCK_SEQPACKET
    ends 4 nq stats fake && says err 'fake is the socket of something else'
    failed=$?
    kill "$fake" 2>/dev/null
    wait "$fake" 2>/dev/null
    rm fake
    return "$failed"
}

not_allowed() {
    mkdir closed
    cp /dev/null closed/x
    chmod 0 closed
    setpriv --reuid 65534 --regid 65534 --clear-groups "$NETQUEUE" --version >/dev/null 2>&1 || {
        chmod 700 closed
        echo "another user cannot run the command here"
        return 0
    }
    setpriv --reuid 65534 --regid 65534 --clear-groups "$NETQUEUE" stats "$PWD/closed/x" 2>err
    [ $? -eq 4 ] && says err 'only the user whose queue it is, and root, may ask it'
    failed=$?
    chmod 700 closed
    return "$failed"
}

# A server that gets for ever.  It listens from the moment on that a client's message has come.
start_get --timeout forever >got 2>get.err
server=$getter
started "$server"
check "a queue runs" ends 0 nq put -c client.json --timeout 30s client.json
check "the table names process, counters and transports" table_works
mkfifo lines
"$NETQUEUE" put -c client.json --lines --timeout forever <lines >/dev/null 2>put.err &
putter=$!
started "$putter"
exec 3>lines
check "peers are shown when they are asked for" peers_work
if command -v python3 >/dev/null; then
    check "its JSON is JSON" json_works
else
    skip "its JSON is JSON" "no python3"
fi
if python=$(parser); then
    check "its metrics are read by Prometheus's parser, and none is left out" metrics_parse
else
    skip "its metrics are read by Prometheus's parser" "python3-prometheus-client is not installed"
fi
check "--watch asks again and again" watch_goes_on
exec 3>&-
wait "$putter"
kill -INT "$server"
got 130
server_ended=$?
check "a queue that closes takes its socket along" a_closed_queue_has_no_socket
check "wrong usage" usage_codes
check "what is no socket is named" no_socket
if command -v python3 >/dev/null; then
    check "what listens and is no queue is named" something_else
    check "a socket of another kind is named" another_kind_of_socket
else
    skip "what listens and is no queue is named" "no python3"
fi
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    check "who may not ask is told who may" not_allowed
else
    skip "who may not ask is told who may" "not root"
fi
tap_done
