#!/bin/sh
# TLS as others see it: openssl's own client against a server of ours, files between two commands, a
# client that trusts whom the system trusts, and what a user reads when one side has no TLS.
#
# Nothing here waits by the clock, but for the ends of what would hang.
. "${top_srcdir:-.}/tests/support/tap.sh"
. "$top_srcdir/tests/support/command.sh"
command -v openssl >/dev/null || skip_all "openssl is not installed"

server=
end_server() {
    [ -n "$server" ] || return
    kill "$server" 2>/dev/null
    wait "$server"
    server=
}
trap 'end_server; rm -rf "$tap_tmp"' EXIT

new='openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
# shellcheck disable=SC2086 # words
{
    $new -keyout ca.key -out ca.pem -subj /CN=authority
    $new -CA ca.pem -CAkey ca.key -keyout me.key -out me.pem -subj /CN=me \
        -addext subjectAltName=IP:127.0.0.1
} >made.log 2>&1 || { note <made.log; exit 99; }

# listen [MORE]: a server, with MORE of its configuration.
listen() {
    end_server
    port=$(free_port)
    config server.json server "$@"
    : >server.log
    NETQUEUE_LOG=info "$NETQUEUE" get -c server.json -o inbox >/dev/null 2>server.log &
    server=$!
    until grep -q 'listening on' server.log; do
        kill -0 "$server" || { note <server.log; exit 99; }
    done
}

# start_server MORE: with MORE of its object `tls`.
start_server() {
    listen ", \"tls\": {\"cert\": \"me.pem\", \"key\": \"me.key\"$1}"
}

# s_client WORD...: openssl's client says nothing and goes; what it saw is in seen.
s_client() {
    timeout -k 5 30 openssl s_client -connect "127.0.0.1:$port" -CAfile ca.pem "$@" \
        </dev/null >seen 2>&1
}

# ---- openssl's client ---------------------------------------------------------------------

start_server ''

trusts_us() {
    s_client -verify_return_error -verify_ip 127.0.0.1 -alpn nq1 &&
        says seen 'Verify return code: 0 (ok)' && says seen 'TLSv1.3' &&
        says seen 'ALPN protocol: nq1'
}
check "openssl s_client: TLS 1.3, our certificate, ALPN" trusts_us

no_tickets() {
    s_client && says seen 'Verify return code: 0' && ! grep -q 'New Session Ticket' seen
}
check "no session tickets" no_tickets

not_for_others() {
    ! s_client -alpn h2 && says seen 'no application protocol'
}
check "who offers other protocols only is sent away" not_for_others

not_old() {
    ! s_client -tls1_2 && says seen 'alert protocol version'
}
check "TLS 1.2 only where it is asked for" not_old

# Each line "K" is a change of keys; a client that only does that is no client.
no_key_flood() {
    { until grep -q 'without end' server.log; do echo K; done; } |
        timeout -k 5 60 openssl s_client -connect "127.0.0.1:$port" >seen 2>&1
    says server.log 'the other side changes keys without end'
}
check "changes of keys without data are not borne for long" no_key_flood

start_server ', "version": "1.2"'

old() {
    s_client -tls1_2 && says seen 'Verify return code: 0' && says seen 'Protocol *: TLSv1.2' &&
        says seen 'Secure Renegotiation IS supported' && says seen 'ECDHE' &&
        says seen 'Compression: NONE'
}
check "TLS 1.2 when it is asked for, with forward secrecy, without compression" old

not_older() {
    ! s_client -tls1_1 -cipher 'ALL:@SECLEVEL=0' && says seen 'Cipher is (NONE)'
}
check "never TLS 1.1" not_older

no_renegotiation() { # the line "R" asks for it
    echo R | timeout -k 5 30 openssl s_client -connect "127.0.0.1:$port" -tls1_2 >seen 2>&1
    says seen 'RENEGOTIATING' && says seen 'no renegotiation'
}
check "no renegotiation" no_renegotiation

start_server ', "ca": "ca.pem"'

wants_certificate() {
    s_client -ign_eof # TLS 1.3: the answer comes behind the handshake
    says seen 'alert certificate required' &&
        s_client -cert me.pem -key me.key && says seen 'Verify return code: 0'
}
check "a server with a ca wants a certificate" wants_certificate

# ---- what is wrong before anything is opened ------------------------------------------------

finds() { # TLS PROBLEM
    config client.json client ", \"tls\": {$1}"
    ! nq check -c client.json >seen && says seen "$2"
}
finds_files() {
    finds '"ca": "nowhere.pem"' 'transport tcp: .*nowhere.pem: No such file' &&
        finds '"ca": "ca.pem", "cert": "me.pem", "key": "ca.key"' 'transport tcp: .*key' &&
        finds '"ca": "me.key"' 'transport tcp: .*ca'
}
check "the check finds files that are missing or do not fit" finds_files

# ---- our own client -----------------------------------------------------------------------

head -c 3000000 /dev/urandom >sent

moves_files() {
    config client.json client ', "tls": {"ca": "ca.pem", "cert": "me.pem", "key": "me.key"}'
    ends 0 nq put -c client.json sent && cmp sent inbox/sent
}
check "a file arrives over mutual TLS" moves_files

# A key that everybody may read works, and is talked about.
open_key() {
    says server.log 'warn: .*/tls/key: every user of this host may open the private key .*me.key' &&
        ! nq check -c server.json >seen && says seen '/tls/key: every user of this host'
}
closed_key() {
    ! grep -q 'private key' server.log && nq check -c server.json >seen && says seen 'no problems'
}
chmod 644 me.key
start_server ''
check "a private key that everybody may read is warned of" open_key
chmod 600 me.key
start_server ''
check "one that its owner alone may read is not" closed_key

trusts_system() {
    config client.json client ', "tls": {"version": "1.3"}'
    ends 0 env SSL_CERT_FILE="$PWD/ca.pem" "$NETQUEUE" put -c client.json sent
}
check "without a ca a client trusts whom the system trusts" trusts_system

# refused CLIENT_SAYS SERVER_SAYS: a client tries until both have said why it cannot come in.
refused() {
    NETQUEUE_LOG=info "$NETQUEUE" put -c client.json --timeout 60s sent >/dev/null 2>client.log &
    client=$!
    until grep -q "$1" client.log && grep -q "$2" server.log; do
        kill -0 "$client" || break
    done
    kill "$client"
    wait "$client"
    says client.log "$1" && says server.log "$2"
}

trusts_nobody_else() {
    refused 'the server.s certificate is refused: unable to get local issuer certificate' \
        'refused: nobody that the other side trusts has signed it' &&
        ! grep -E '(127[.0-9]*:[0-9]+: )\1' server.log
}
check "and nobody else, and both sides say so" trusts_nobody_else

# ---- one side without ---------------------------------------------------------------------

plain_client() {
    config client.json client
    refused 'the other side speaks TLS, and this configuration has no "tls"' \
        'the other side does not speak TLS'
}
check "a plain client on a port with TLS: both sides say so" plain_client

plain_server() {
    config client.json client ', "tls": {"ca": "ca.pem"}'
    refused 'the server does not speak TLS' \
        'the other side speaks TLS, and this configuration has no "tls"'
}
listen
check "and the reverse" plain_server

end_server
tap_done
