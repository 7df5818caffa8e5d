# shellcheck shell=sh
# For tests that need systems to install in and to throw away.  Source it behind tap.sh; root_base makes
# the first one, root_new copies it.  $root is the one that is used now.
#
# /proc is mounted for each command alone: nothing is left behind, and nothing of this machine is
# within reach of what removes a system.  The network is this machine's.

base=
root=

# Where this machine has its packages from, unless MIRROR says otherwise.
mirror() {
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\2/p' \
        /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -n 1
}

# root_exec COMMAND...: takes the place of this shell, so that what is behind & is the command itself.
root_exec() {
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive unshare --mount --root="$root" --mount-proc "$@"
}

inside() {
    (root_exec "$@")
}

# inside_user COMMAND: as somebody who is nobody special, in a shell as after a login.
inside_user() {
    inside runuser -l somebody -c "$1"
}

# The smallest Debian 12 there is, with the lists of its packages, and a user.
root_base() {
    base=${tap_tmp:?}/base
    root=$base
    unshare --mount debootstrap --variant=minbase bookworm "$base" "${MIRROR:-$(mirror)}" &&
        printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d" && # start no services
        chmod +x "$base/usr/sbin/policy-rc.d" && chmod 1777 "$base/dev/shm" &&
        inside useradd -m -s /bin/sh somebody && inside apt-get -q update
}

# Another one, in place of the one before.
root_new() { # name
    [ -n "$base" ] || return
    [ "$root" = "$base" ] || rm -rf "$root"
    root=${base%/*}/$1
    cp -a "$base" "$root"
}

# From here on packages come from this folder as well.
root_offers() { # folder with packages
    mkdir "$root/debs" && cp "$1"/*.deb "$root/debs/" &&
        (cd "$root/debs" && apt-ftparchive packages . >Packages) &&
        echo "deb [trusted=yes] copy:/debs ./" >"$root/etc/apt/sources.list.d/own.list" &&
        inside apt-get -q update
}

install() {
    inside apt-get -qy --no-install-recommends install "$@"
}

uninstall() {
    inside apt-get -qy --purge --auto-remove remove "$@"
}

installed() { # pattern
    # shellcheck disable=SC2016 # dpkg-query's own
    inside dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$1" | sed -n 's/ installed$//p'
}

# All packages and all files, but for what is known to be written anew: caches, logs, lists.
root_contents() {
    inside dpkg-query -W
    (cd "$root" && find . -xdev \( -path ./tmp -o -path ./debs -o -path ./var/cache -o -path ./var/log \
        -o -path ./var/lib/apt -o -path ./var/lib/dpkg -o -path ./run \) -prune -o -print | sort)
}

# The files that this tree has in git.
copy_tree() { # folder
    mkdir -p "$1" && (cd "${top_srcdir:?}" && git ls-files -z | xargs -0 cp --parents -t "$1")
}
