# shellcheck shell=bash
# For scripts/demo and scripts/test: packages, and building outside the sources.  Source it first;
# then $top is the tree and the working directory.

set -u
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
cd "$top" || exit 1
umask 022 # plugins that others may write to are refused
export TMPDIR=$top/build/tmp
mkdir -p "$TMPDIR"
jobs=$(nproc 2>/dev/null || echo 2)

# What a build needs, and what the tests need beyond it.
# shellcheck disable=SC2034 # used by those who source this
build_packages=(autoconf automake libtool gcc libc6-dev make pkg-config libltdl-dev libjansson-dev
    nettle-dev libssl-dev libpaho-mqtt-dev libgrpc-dev)
# shellcheck disable=SC2034
test_packages=(g++ check python3 clang libclang-rt-14-dev llvm clang-format clang-tidy cppcheck codespell
    shellcheck spin binutils doxygen groff-base mandoc xz-utils mosquitto openssl valgrind python3-paho-mqtt
    python3-grpcio python3-numpy python3-prometheus-client bash-completion zsh fish
    abigail-tools)
# What tests of packages need beyond them: tests/long/debian.sh and rpm.sh.
# shellcheck disable=SC2034
package_test_packages=(apt-utils autopkgtest debootstrap dpkg-dev lintian rpm)

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# need_packages NAME...: install those that are missing.  Asks no network when all are there.
need_packages() {
    local missing=() name have sudo=()

    if ! command -v dpkg-query >/dev/null; then
        say "Not a Debian system, so nothing is installed; this needs what Debian calls: $*"
        return 0
    fi
    # shellcheck disable=SC2016 # dpkg-query's own variables
    have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
        sed -n 's/ installed$//p')
    for name in "$@"; do
        grep -qxF "$name" <<<"$have" || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0

    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "these packages are missing, and installing them needs root or sudo: ${missing[*]}"
        sudo=(sudo)
    fi
    say "Installing missing packages: ${missing[*]}"
    mkdir -p build/logs
    if ! {
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update &&
            "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y \
                --no-install-recommends "${missing[@]}"
    } >build/logs/packages.log 2>&1 </dev/null; then
        tail -n 20 build/logs/packages.log >&2
        die "cannot install: ${missing[*]}; all of apt-get's words are in build/logs/packages.log"
    fi
}

# The make that this shell may have been started from must not lend its settings.
unset MAKEFLAGS MAKELEVEL MFLAGS DESTDIR

# configure_in FOLDER ARGUMENT...: make ./configure when it is missing and run it in FOLDER, unless
# that was done with the same arguments.  Later changes are noticed by make itself.
configure_in() {
    local folder=$1 asked

    shift
    asked="$top $* CC=${CC-} CFLAGS=${CFLAGS-}"
    if [ -e config.status ]; then
        say "the sources were configured in place: run make distclean first"
        return 1
    fi
    if [ ! -x configure ] || [ ! -e Makefile.in ]; then
        ./autogen.sh || return 1
    fi
    mkdir -p "$folder"
    if [ -e "$folder/Makefile" ] && [ "$(cat "$folder/.asked" 2>/dev/null)" = "$asked" ]; then
        return 0
    fi
    (cd "$folder" && "$top/configure" --prefix="$top/build/installed" "$@") || return 1
    printf '%s\n' "$asked" >"$folder/.asked"
}

# build_in FOLDER [TARGET...]; build_with is a command that runs make.
build_with=()
build_in() {
    local folder=$1

    shift
    "${build_with[@]}" make -C "$folder" -j"$jobs" "$@"
}
