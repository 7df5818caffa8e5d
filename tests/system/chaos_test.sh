#!/bin/sh
# Processes whose links are cut, that are stopped and killed, lose nothing and say nothing wrong.
# This is the short version of tests/long/chaos.sh, over each transport that was built, and over shm
# and tcp in one list.
. "${top_srcdir:-.}/tests/support/tap.sh"
export top_builddir
transports=
command -v mosquitto /usr/sbin/mosquitto >/dev/null && mqtt=mqtt || mqtt=
for name in tcp grpc $mqtt; do
    [ -e "$top_builddir/plugins/$name/.libs/$name.so" ] && transports=$transports${transports:+,}$name
done
if [ -e "$top_builddir/plugins/shm/.libs/shm.so" ]; then
    transports=$transports${transports:+,}shm
    [ -e "$top_builddir/plugins/tcp/.libs/tcp.so" ] && transports=$transports,shm+tcp
fi
[ -n "$transports" ] || skip_all "no transport between processes is built"
exec "$top_srcdir/tests/long/chaos.sh" --transports "$transports" --cuts 100 --stop 2 --kills 2 \
    --losses 50 --large 128 "$@"
