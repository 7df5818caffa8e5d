#!/bin/sh
# The RPM packages: built of a release, with all that is installed in one of them, and with the
# dependencies that transports have.  Where there is no Fedora it is told to believe that what it needs
# is there.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/support/tap.sh"

for tool in rpmbuild doxygen; do
    command -v $tool >/dev/null || skip_all "$tool is missing"
done
[ -e "$top_builddir/Makefile" ] || skip_all "nothing is configured"
tap_mktemp
top=$tap_tmp/rpm
header=$top_srcdir/include/netqueue/transport.h
abi=$(sed -n 's/^#define NQT_ABI_MAJOR //p' "$header")
minor=$(sed -n 's/^#define NQT_ABI_MINOR //p' "$header")

release_is_made() {
    mkdir -p "$top/SOURCES" && make -s -C "$top_builddir" dist-xz &&
        mv "$top_builddir"/netqueue-*.tar.xz "$top/SOURCES/"
}

# Whatever is installed and in no package is an error; so are numbers of the interface that differ.
packages_are_built() {
    believe=
    ! command -v dpkg-query >/dev/null || believe=--nodeps
    rpmbuild $believe --without check --define "_topdir $top" -bb "$top_srcdir/packaging/rpm/netqueue.spec"
}

package() { # name
    echo "$top"/RPMS/*/"netqueue$1"-[0-9]*.rpm
}

each_file_is_in_one() {
    for rpm in "$top"/RPMS/*/*.rpm; do
        rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$rpm" | sed -n 's/^[-l][^ ]* //p'
    done | sort >"$tap_tmp/files"
    [ -s "$tap_tmp/files" ] && ! uniq -d "$tap_tmp/files" | grep .
}

interface_is_asked_for() {
    rpm -qp --provides "$(package -libs)" | grep -E "^netqueue\(transport-abi\).* = $abi\.$minor$" || return
    for name in tcp shm mqtt grpc; do
        rpm -qp --requires "$(package "-transport-$name")" |
            grep -E "^\(netqueue\(transport-abi\).* >= $abi\.0 with .* < $((abi + 1))\.0\)$" || return
        ! rpm -qp --requires "$(package "-transport-$name")" | grep libnetqueue || return
    done
}

there() { # package's name, file
    rpm -qpl "$(package "$1")" | grep -q "$2\$" && return
    echo "netqueue$1 has no $2"
    return 1
}

what_readers_and_shells_look_for() {
    there -doc /html/index.html && there -doc /tutorial.md && there -doc /examples/tcp-server.json &&
        there -devel /man3/nq_put.3.* && there -transport-tcp /man7/netqueue-tcp.7.* &&
        there '' /man5/netqueue.conf.5.* && there '' /completions/netqueue && there '' /_netqueue &&
        there '' /netqueue.fish
}

try "a release is made" release_is_made
try "its packages are built, and nothing is left over" packages_are_built
try "no file is in two of them" each_file_is_in_one
try "transports ask for the interface, and not for the library" interface_is_asked_for
try "manuals, guides and completions are where they are looked for" what_readers_and_shells_look_for
tap_done
