#!/bin/sh
# The Debian packages: built twice in different folders with the same result, without a word of
# lintian, and installed, used and removed in a throw-away system.  Needs root and a Debian mirror
# (MIRROR, by default this machine's first); takes some minutes.
#
#     tests/long/debian.sh [FOLDER]     FOLDER keeps the packages, as for a look at them
. "${top_srcdir:-$(dirname "$0")/../..}/tests/support/tap.sh"

for tool in dpkg-buildpackage debootstrap lintian apt-ftparchive; do
    command -v $tool >/dev/null || skip_all "$tool is missing"
done
[ "$(id -u)" = 0 ] || skip_all "only root can make a system to install in"
git -C "$top_srcdir" rev-parse >/dev/null 2>&1 || skip_all "needs the checkout, not a release"

tap_mktemp
root=$tap_tmp/root
debs=${1:-$tap_tmp/debs}
mkdir -p "$debs"
debs=$(cd "$debs" && pwd)

# So that nothing of the throw-away system stays, whatever fails.
root_end() {
    for mount in proc dev; do
        umount "$root/$mount" 2>/dev/null
    done
    tap_end
}
trap root_end EXIT

inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
}

build_in() { # folder, dpkg-buildpackage's arguments...
    mkdir -p "$1/netqueue"
    (
        cd "$top_srcdir" && git ls-files -z | xargs -0 cp --parents -t "$1/netqueue" &&
            cd "$1/netqueue" && shift &&
            DEB_BUILD_OPTIONS="nocheck parallel=2" SOURCE_DATE_EPOCH=1000000000 \
                dpkg-buildpackage -us -uc -Pnocheck "$@"
    )
}

packages_are_built() {
    build_in "$tap_tmp/one" && cp "$tap_tmp"/one/*.deb "$tap_tmp"/one/*.changes "$debs"
}

another_build_is_the_same() {
    build_in "$tap_tmp/another/folder" -b || return
    for file in "$tap_tmp"/another/folder/*.deb; do
        cmp "$file" "$tap_tmp/one/${file##*/}" || return
    done
}

lintian_is_silent() {
    said=$(cd "$tap_tmp/one" && lintian --allow-root --fail-on error,warning ./*.changes) || {
        echo "$said"
        return 1
    }
}

# Where this machine has its packages from, unless MIRROR says otherwise.
mirror() {
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\2/p' \
        /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -n 1
}

a_system_is_made() {
    debootstrap --variant=minbase bookworm "$root" "${MIRROR:-$(mirror)}" &&
        mount --bind /proc "$root/proc" && mount --bind /dev "$root/dev" &&
        mkdir "$root/debs" && cp "$debs"/*.deb "$root/debs/" &&
        (cd "$root/debs" && apt-ftparchive packages . >Packages) &&
        echo "deb [trusted=yes] copy:/debs ./" >"$root/etc/apt/sources.list.d/own.list" &&
        printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && # start no services
        chmod +x "$root/usr/sbin/policy-rc.d" && inside apt-get -q update
}

install() {
    inside apt-get -qy --no-install-recommends install "$@"
}

installed() { # pattern
    # shellcheck disable=SC2016 # dpkg-query's own
    inside dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$1" | sed -n 's/ installed$//p'
}

uninstall() {
    inside apt-get -qy --purge --auto-remove remove "$@"
}

# configure TRANSPORT KEYS: both ends.
configure() {
    for purpose in server client; do
        echo "{\"purpose\": \"$purpose\", \"transport\": \"$1\", $2}" >"$root/tmp/$purpose.json"
    done
}

a_message_passes() { # transport, its keys
    configure "$@"
    inside timeout 60 netqueue get -c /tmp/server.json -n 1 >"$tap_tmp/got" &
    server=$!
    started "$server"
    echo hello | inside timeout 60 netqueue put -c /tmp/client.json --lines && wait "$server" &&
        [ "$(cat "$tap_tmp/got")" = hello ]
}

tcp_alone() {
    install netqueue netqueue-transport-tcp &&
        [ "$(installed 'netqueue-transport-*')" = netqueue-transport-tcp ] &&
        a_message_passes tcp "\"host\": \"127.0.0.1\", \"port\": $(free_port)"
}

what_is_missing_is_named() {
    configure mqtt '"host": "127.0.0.1", "port": 1883, "trust_broker": true'
    said=$(inside netqueue check -c /tmp/client.json 2>&1) && return 1
    echo "$said" | grep -F netqueue-transport-mqtt
}

mqtt_afterwards() {
    port=$(free_port)
    install netqueue-transport-mqtt mosquitto || return
    # not by inside(): the process that is to be ended would be a shell's child
    env -i PATH=/usr/sbin:/usr/bin chroot "$root" mosquitto -p "$port" >"$tap_tmp/broker" 2>&1 &
    started $!
    until grep -q running "$tap_tmp/broker"; do
        kill -0 $! || return
    done
    a_message_passes mqtt "\"host\": \"127.0.0.1\", \"port\": $port, \"trust_broker\": true"
}

shm_and_grpc() {
    install netqueue-transport-shm netqueue-transport-grpc &&
        a_message_passes shm '"path": "/tmp/queue.sock"' &&
        a_message_passes grpc "\"host\": \"127.0.0.1\", \"port\": $(free_port)"
}

# What the tutorial says is done, with the packages that it names.
a_newcomer_follows_the_tutorial() {
    # shellcheck disable=SC2046 # a list of packages
    inside apt-get -qy install $(sed -n '/^sudo apt-get install netqueue /,/[^\\]$/p' "$top_srcdir/docs/tutorial.md" |
        sed 's/^sudo apt-get install//; s/\\$//') || return
    mkdir -p "$root/src/tutorial" && (
        cd "$top_srcdir" && git ls-files -z | xargs -0 cp --parents -t "$root/src/tutorial"
    ) && ln -s / "$root/src/tutorial/tests/stage" &&
        inside sh -c 'cd /src/tutorial && libdir=/usr/lib/$(gcc -print-multiarch) &&
            prefix=/usr exec_prefix=/usr bindir=/usr/bin includedir=/usr/include libdir=$libdir \
            plugindir=$libdir/netqueue/transport-'"$abi"' DOCUMENTS=docs/tutorial.md \
            sh tests/docs/documents_test.sh'
}

# Only headers and the helper: the transport of tests/outside/ becomes a package of its own.
an_authors_package() {
    install build-essential debhelper pkgconf netqueue-transport-dev || return
    mkdir -p "$root/src/debian/source" && cp "$top_srcdir"/tests/outside/unixsock.c \
        "$top_srcdir"/tests/outside/Makefile "$root/src/" && cd "$root/src/debian" || return
    cat >control <<'EOF'
Source: netqueue-transport-unixsock
Section: net
Priority: optional
Maintainer: Somebody Else <somebody@else.example.org>
Build-Depends: debhelper-compat (= 13), dh-sequence-netqueue, pkgconf
Standards-Version: 4.6.2

Package: netqueue-transport-unixsock
Architecture: any
Depends: ${misc:Depends}, ${netqueue:Depends}, ${shlibs:Depends}
Provides: netqueue-transport
Description: netqueue over unix sockets
 A transport.
EOF
    cat >changelog <<'EOF'
netqueue-transport-unixsock (1) unstable; urgency=medium

  * First.

 -- Somebody Else <somebody@else.example.org>  Sun, 22 Nov 2026 12:00:00 +0000
EOF
    printf '#!/usr/bin/make -f\n%%:\n\tdh $@\n' >rules
    chmod +x rules
    echo "3.0 (native)" >source/format
    # shellcheck disable=SC2016 # debhelper's own
    echo 'unixsock.so usr/lib/${DEB_HOST_MULTIARCH}/netqueue/transport-'"$abi" >install
    inside sh -c 'cd /src && dpkg-buildpackage -us -uc -b' &&
        inside dpkg -I "/netqueue-transport-unixsock_1_$(dpkg --print-architecture).deb" |
        grep "netqueue-transport-abi-$abi (>= $abi\.[0-9]*)" &&
        inside sh -c 'apt-get -qy install /netqueue-transport-unixsock_1_*.deb' &&
        a_message_passes unixsock '"path": "/tmp/unix.sock"'
}

# Those of debian/tests/, with all packages there.
packages_test_themselves() {
    cp -r "$tap_tmp/one/netqueue" "$root/src/netqueue" || return
    for name in $(sed -n 's/^Tests: //p' "$top_srcdir/debian/tests/control"); do
        mkdir -p "$root/tmp/$name" && inside sh -c \
            "cd /src/netqueue && AUTOPKGTEST_TMP=/tmp/$name debian/tests/$name" || return
    done
}

# What is anywhere, apart from the packages themselves and what was written here.
own_files() {
    find "$root" -xdev \( -path "$root/debs" -o -path "$root/src" -o -path "$root/tmp" \
        -o -path "$root/var" -o -name 'netqueue-transport-unixsock*' \) -prune \
        -o -name '*netqueue*' -print
}

nothing_stays() {
    uninstall netqueue 'netqueue-*' libnetqueue0 libnetqueue-dev && ! own_files | grep .
}

abi=$(sed -n 's/^#define NQT_ABI_MAJOR //p' "$top_srcdir/include/netqueue/transport.h")
check "the packages are built" packages_are_built
check "another build in another folder is the same, byte by byte" another_build_is_the_same
check "lintian has neither errors nor warnings" lintian_is_silent
check "a system to install in" a_system_is_made
check "the command and tcp alone exchange a message" tcp_alone
check "a transport that is missing is told by its package" what_is_missing_is_named
check "with that package it works" mqtt_afterwards
check "so do the others" shm_and_grpc
check "a newcomer follows the tutorial word by word" a_newcomer_follows_the_tutorial
check "a transport from outside is packaged with the headers and the helper" an_authors_package
check "the tests of the packages themselves" packages_test_themselves
check "removed again, nothing stays" nothing_stays
tap_done
