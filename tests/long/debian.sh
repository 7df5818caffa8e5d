#!/bin/sh
# The Debian packages: built in a system that has only what they ask for, twice with the same result,
# without a word of lintian, and installed, used and removed in throw-away systems, by a user, a newcomer
# with the tutorial, the author of a transport, and autopkgtest.  Needs root and a Debian mirror
# (MIRROR, by default this machine's first); installs what it lacks; takes a quarter of an hour, half of
# it for the tests that a build runs.
#
#     tests/long/debian.sh [FOLDER]     FOLDER keeps the packages, as for a look at them
#     DEB_BUILD_OPTIONS=nocheck tests/long/debian.sh      without those tests
. "${top_srcdir:-$(dirname "$0")/../..}/tests/support/tap.sh"
. "$top_srcdir/tests/long/root.sh"

[ "$(id -u)" = 0 ] || skip_all "only root can make a system to install in"
git -C "$top_srcdir" rev-parse >/dev/null 2>&1 || skip_all "needs the checkout, not a release"
command -v dpkg-query >/dev/null || skip_all "no Debian system"
# shellcheck disable=SC2016 # variables of that shell
bash -c '. "$0/scripts/common.sh" && need_packages "${package_test_packages[@]}"' "$top_srcdir" >&2 ||
    skip_all "what it needs cannot be installed"

tap_mktemp
debs=${1:-$tap_tmp/debs}
mkdir -p "$debs"
debs=$(cd "$debs" && pwd)
abi=$(sed -n 's/^#define NQT_ABI_MAJOR //p' "$top_srcdir/include/netqueue/transport.h")
minor=$(sed -n 's/^#define NQT_ABI_MINOR //p' "$top_srcdir/include/netqueue/transport.h")

# ---- building --------------------------------------------------------------------------------

# As anybody does who has the sources, who is not root.
packages_are_built() {
    root_new build && install build-essential && copy_tree "$root/home/somebody/one/netqueue" &&
        inside chown -R somebody: /home/somebody/one && inside sh -c \
        'cd /home/somebody/one/netqueue && apt-get -qy --no-install-recommends build-dep ./' &&
        inside_user "cd one/netqueue && DEB_BUILD_OPTIONS='${DEB_BUILD_OPTIONS:-}' dpkg-buildpackage -us -uc" &&
        cp -r "$root/home/somebody/one" "$tap_tmp/one" && cp "$tap_tmp"/one/*.deb "$debs"
}

# Another folder, user, time zone, language and umask, and no tests.
another_build_is_the_same() {
    copy_tree "$root/srv/another/folder/netqueue" &&
        inside sh -c 'umask 027 && cd /srv/another/folder/netqueue && DEB_BUILD_OPTIONS=nocheck \
            TZ=Asia/Kathmandu LC_ALL=POSIX HOME=/nowhere dpkg-buildpackage -us -uc -Pnocheck' || return
    (cd "$tap_tmp/one" && sha256sum ./*.deb ./*.tar.xz) >"$tap_tmp/one.sums" &&
        (cd "$root/srv/another/folder" && sha256sum ./*.deb ./*.tar.xz) | diff "$tap_tmp/one.sums" -
}

lintian_is_silent() {
    said=$(cd "$tap_tmp/one" && lintian --allow-root --fail-on error,warning ./*.changes 2>&1) || {
        echo "$said"
        return 1
    }
}

# The compiler names itself so in what it made when all was linked; flags can get lost.
optimised_as_a_whole() {
    for package in libnetqueue0 netqueue-transport-grpc netqueue-transport-mqtt netqueue-transport-shm \
        netqueue-transport-tcp; do
        rm -rf "$tap_tmp/debug" && dpkg-deb -x "$debs/$package"-dbgsym_*.deb "$tap_tmp/debug" &&
            find "$tap_tmp/debug" -name '*.debug' -exec readelf -zp .debug_str {} + | grep "GNU GIMPLE" ||
            return
    done
}

# What `make dist` has for those who do not want packages.
release_is_made() {
    inside_user 'cd one/netqueue/debian/build && make -s dist-xz' &&
        cp "$root"/home/somebody/one/netqueue/debian/build/netqueue-*.tar.xz "$tap_tmp/release.tar.xz"
}

# ---- what the packages say of each other -----------------------------------------------------

field() { # package field
    dpkg-deb -f "$debs/$1"_*.deb "$2"
}

same() { # what, WANT GOT
    [ "$2" = "$3" ] && return
    echo "$1: $3, instead of $2"
    return 1
}

packages_name_each_other() {
    others="netqueue-transport-grpc, netqueue-transport-mqtt, netqueue-transport-shm"
    same provides "netqueue-transport-abi-$abi (= $abi.$minor)" "$(field libnetqueue0 Provides)" &&
        same suggests "$others" "$(field libnetqueue0 Suggests)" &&
        same suggests "netqueue-doc, $others" "$(field netqueue Suggests)" || return
    for package in libnetqueue0 netqueue; do
        same recommends "netqueue-transport-tcp | netqueue-transport" "$(field $package Recommends)" || return
    done
    for name in tcp shm mqtt grpc; do
        package=netqueue-transport-$name
        same provides netqueue-transport "$(field $package Provides)" &&
            same enhances libnetqueue0 "$(field $package Enhances)" || return
        # The interface, and never the library: that may become another one.
        field $package Depends | grep -F "netqueue-transport-abi-$abi (>= $abi." || return
        ! field $package Depends | grep libnetqueue || return
    done
}

# What several architectures share must be the same in all: nothing that a compiler made, and no
# folder of one architecture's libraries, outside of that.
architectures_live_together() {
    triplet=$(dpkg-architecture -q DEB_HOST_MULTIARCH)
    for deb in "$debs"/*.deb; do
        dpkg-deb -f "$deb" Multi-Arch | grep -q same || continue
        package=${deb##*/}
        rm -rf "$tap_tmp/files" && dpkg-deb -x "$deb" "$tap_tmp/files" &&
            rm -rf "$tap_tmp/files/usr/lib/$triplet" "$tap_tmp/files/usr/lib/debug" &&
            ! grep -rlE "^.ELF|$triplet" "$tap_tmp/files" | sed "s/^/${package%%_*}: /" | grep . || return
        same_packages="${same_packages:-} ${package%%_*}"
    done
    same together "libnetqueue-dev libnetqueue0 netqueue-transport-dev netqueue-transport-grpc \
netqueue-transport-mqtt netqueue-transport-shm netqueue-transport-tcp" \
        "$(echo "$same_packages" | tr ' ' '\n' | grep -v dbgsym | xargs)"
}

# ---- a user ----------------------------------------------------------------------------------

# configure TRANSPORT KEYS: both ends.
configure() {
    for purpose in server client; do
        echo "{\"purpose\": \"$purpose\", \"transport\": \"$1\", $2}" >"$root/tmp/$purpose.json"
    done
}

a_message_passes() { # transport, its keys
    configure "$@"
    root_exec timeout 60 netqueue get -c /tmp/server.json -n 1 >"$tap_tmp/got" &
    server=$!
    started "$server"
    echo hello | inside timeout 60 netqueue put -c /tmp/client.json --lines && wait "$server" &&
        [ "$(cat "$tap_tmp/got")" = hello ]
}

tcp_alone() {
    root_new user && root_offers "$debs" && root_contents >"$tap_tmp/before" &&
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
    root_exec mosquitto -p "$port" >"$tap_tmp/broker" 2>&1 &
    broker=$!
    started "$broker"
    until grep -q running "$tap_tmp/broker"; do
        kill -0 "$broker" || return
    done
    a_message_passes mqtt "\"host\": \"127.0.0.1\", \"port\": $port, \"trust_broker\": true" &&
        kill "$broker"
}

shm_and_grpc() {
    install netqueue-transport-shm netqueue-transport-grpc &&
        a_message_passes shm '"path": "/tmp/queue.sock"' &&
        a_message_passes grpc "\"host\": \"127.0.0.1\", \"port\": $(free_port)"
}

# A package that is nothing but a dependency.
needs_interface() { # version
    mkdir -p "$root/debs/needs/DEBIAN" && cat >"$root/debs/needs/DEBIAN/control" <<END
Package: netqueue-transport-needs
Version: 1
Architecture: all
Maintainer: Somebody Else <somebody@else.example.org>
Depends: netqueue-transport-abi-$1
Description: a transport that needs this interface
END
    inside dpkg-deb -b /debs/needs /debs/needs.deb &&
        inside apt-get -qy --no-install-recommends install /debs/needs.deb
}

interface_has_a_version() {
    needs_interface "$abi (>= $abi.0)" && uninstall netqueue-transport-needs || return
    for later in "$abi (>= $abi.$((minor + 1)))" "$((abi + 1)) (>= $((abi + 1)).0)"; do
        ! needs_interface "$later" || return
    done
}

# Everything is as it was before, all packages and all files; caches and logs are the system's.
nothing_stays() {
    uninstall netqueue 'netqueue-*' libnetqueue0 mosquitto &&
        root_contents | diff "$tap_tmp/before" -
}

# ---- a newcomer ------------------------------------------------------------------------------

# The first commands of the tutorial that have this word, as they stand there.
tutorial_says() { # word
    mkdir -p "$tap_tmp/blocks" &&
        awk -v folder="$tap_tmp/blocks" -f "$top_srcdir/tests/docs/blocks.awk" \
            "$top_srcdir/docs/tutorial.md" >/dev/null &&
        cat "$(grep -lF "$1" "$tap_tmp"/blocks/* | sort -V | head -n 1)"
}

# What everybody has who may use sudo, and who says yes to what apt-get asks.
root_for_newcomer() { # name
    root_new "$1" && install sudo &&
        echo 'somebody ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/somebody" &&
        echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/yes"
}

# The commands as a script, which stops at what fails.
newcomer_types() { # commands, folder
    printf '%s\n' "$1" >"$root/tmp/typed" && cat "$root/tmp/typed" &&
        inside_user "cd ${2:-.} && sh -ex /tmp/typed"
}

# The rest of it: the examples, each as a reader types it.
tutorial_works() {
    copy_tree "$root/home/somebody/tree" && inside chown -R somebody: /home/somebody/tree &&
        inside_user 'cd tree && INSTALLED=yes DOCUMENTS="docs/tutorial.md README.md" sh tests/docs/documents_test.sh' \
            >"$tap_tmp/tutorial"
    code=$?
    cat "$tap_tmp/tutorial"
    [ $code -eq 0 ] && ! grep SKIP "$tap_tmp/tutorial"
}

tutorial_with_packages() {
    root_for_newcomer packages && root_offers "$debs" &&
        newcomer_types "$(tutorial_says 'install netqueue')" && tutorial_works
}

tutorial_with_sources() {
    root_for_newcomer sources && install xz-utils &&
        mkdir "$root/home/somebody/netqueue" &&
        tar -xf "$tap_tmp/release.tar.xz" --strip-components=1 -C "$root/home/somebody/netqueue" &&
        inside chown -R somebody: /home/somebody/netqueue &&
        newcomer_types "$(tutorial_says ./autogen.sh)" netqueue && tutorial_works
}

# ---- the author of a transport ---------------------------------------------------------------

# Only headers and the helper: the transport of tests/outside/ becomes a package of its own.
an_authors_package() {
    root_new author && root_offers "$debs" &&
        install build-essential debhelper pkgconf netqueue-transport-dev || return
    mkdir -p "$root/src/debian/source" && cp "$top_srcdir"/tests/outside/unixsock.c \
        "$top_srcdir"/tests/outside/Makefile "$root/src/" || return
    ours=$root/src/debian
    cat >"$ours/control" <<'END'
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
END
    cat >"$ours/changelog" <<'END'
netqueue-transport-unixsock (1) unstable; urgency=medium

  * First.

 -- Somebody Else <somebody@else.example.org>  Sun, 22 Nov 2026 12:00:00 +0000
END
    printf '#!/usr/bin/make -f\n%%:\n\tdh $@\n' >"$ours/rules"
    chmod +x "$ours/rules"
    echo "3.0 (native)" >"$ours/source/format"
    # shellcheck disable=SC2016 # debhelper's own
    echo 'unixsock.so usr/lib/${DEB_HOST_MULTIARCH}/netqueue/transport-'"$abi" >"$ours/install"
    inside sh -c 'cd /src && dpkg-buildpackage -us -uc -b' &&
        dpkg-deb -I "$root/netqueue-transport-unixsock_1_$(dpkg --print-architecture).deb" |
        grep "netqueue-transport-abi-$abi (>= $abi\.[0-9]*)"
}

# It is that author's users who have no compiler.
an_authors_package_is_used() {
    cp "$root"/netqueue-transport-unixsock_1_*.deb "$tap_tmp/" && root_new outside && root_offers "$debs" &&
        cp "$tap_tmp"/netqueue-transport-unixsock_1_*.deb "$root/debs/unixsock.deb" &&
        install netqueue /debs/unixsock.deb &&
        [ "$(installed 'netqueue-transport-*')" = netqueue-transport-unixsock ] &&
        a_message_passes unixsock '"path": "/tmp/unix.sock"' &&
        cp "$top_srcdir/tools/template/conform.json" "$root/tmp/" &&
        inside sh -c 'netqueue conform --config /tmp/conform.json /usr/lib/*/netqueue/transport-*/unixsock.so'
}

# ---- the packages' own tests -----------------------------------------------------------------

# Each with the packages that debian/tests/control names for it.
packages_test_themselves() {
    # shellcheck disable=SC2016 # variables of that shell
    root_new autopkgtest && unshare --mount sh -c 'root=$1; shift; mount -t proc proc "$root/proc" &&
        autopkgtest --no-built-binaries "$@" -- chroot "$root"' sh "$root" \
        "$debs"/*.deb "$tap_tmp"/one/netqueue_*.dsc
}

try "a system to build and install in" root_base
try "the packages are built from what they ask for" packages_are_built
try "another build in another folder is the same, byte by byte" another_build_is_the_same
[ ! -e "$tap_tmp/one.sums" ] || note <"$tap_tmp/one.sums"
try "library and transports were optimised as a whole" optimised_as_a_whole
try "a release is made" release_is_made
try "lintian has neither errors nor warnings" lintian_is_silent
try "the packages name each other as they should" packages_name_each_other
try "packages of several architectures can be installed together" architectures_live_together
try "the command and tcp alone exchange a message" tcp_alone
try "a transport that is missing is told by its package" what_is_missing_is_named
try "with that package it works" mqtt_afterwards
try "so do the others" shm_and_grpc
try "a transport for a later interface is not installed" interface_has_a_version
try "removed again, nothing stays" nothing_stays
try "a newcomer follows the tutorial word by word with the packages" tutorial_with_packages
try "so does one with a release" tutorial_with_sources
try "a transport from outside is packaged with the headers and the helper" an_authors_package
try "that package is installed, keeps the rules, and carries a message" an_authors_package_is_used
try "the tests of the packages themselves" packages_test_themselves
tap_done
