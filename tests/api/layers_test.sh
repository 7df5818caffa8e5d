#!/bin/sh
# Who may include what.  The ranks of the core's files stand in core/README.md, and nowhere else.
# A file x_y belongs to the longest name listed there that it begins with: queue_put.c to queue,
# conf_table.c to conf.
. "${top_srcdir:-.}/tests/support/tap.sh"
cd "$top_srcdir" || exit 99

# Each file of the core includes only files of its own rank or a lower one.
core_layers() {
    awk '
        FILENAME == "core/README.md" {
            # "rank  0  base list err log", then "1  copy pool": indented, a number, names
            if (match($0, /^    +(rank +)?[0-9]+ +[a-z]/)) {
                at = $1 == "rank" ? 2 : 1
                for (i = at + 1; i <= NF; i++)
                    level[$i] = $at + 0
            }
            next
        }
        function stem(path) {
            sub(/.*\//, "", path)
            sub(/\.[ch]$/, "", path)
            while (!(path in level) && sub(/_[^_]*$/, "", path))
                ;
            return path
        }
        function rank(path, name) {
            name = stem(path)
            if (name in level)
                return level[name]
            if (!(name in told))
                print path ": has no rank in core/README.md"
            told[name] = bad = 1
            return -1
        }
        FNR == 1 { mine = rank(FILENAME) }
        /^# *include *"/ {
            split($0, part, "\"")
            if (part[2] !~ /^core\//) {
                print FILENAME ":" FNR ": \"" part[2] "\" is not a file of the core"
                bad = 1
                next
            }
            theirs = rank(part[2])
            if (mine >= 0 && theirs > mine) {
                print FILENAME ":" FNR ": " part[2] " (rank " theirs ") is above rank " mine
                bad = 1
            }
        }
        END {
            if (!("base" in level)) {
                print "core/README.md: no ranks found"
                bad = 1
            }
            exit bad
        }' core/README.md core/*.[ch]
}

# A public header includes <netqueue/...> and the standard library; the one for sockets, them too.
public_layers() {
    ! grep -nE '^# *include' include/netqueue/*.h |
        grep -vE 'transport_accept\.h:.*<(sys/socket|unistd)\.h>' |
        grep -vE 'transport_stream\.h:.*<(poll|sys/socket|unistd)\.h>' |
        grep -vE 'transport_thread\.h:.*<(pthread|signal)\.h>' |
        grep -vE 'transport_unix\.h:.*<(fcntl|sched|signal|sys/(file|socket|stat|un)|unistd)\.h>' |
        grep -vE 'transport_x509\.h:.*<(openssl/[a-z0-9]+|pthread|sys/stat)\.h>' |
        grep -vE '<(netqueue/[a-z_]+|assert|errno|stdarg|stdbool|stddef|stdint|stdio|stdlib|string|sys/uio)\.h>'
}

# A plugin includes <netqueue/transport.h>, transport_kit.h, transport_tls.h, transport_x509.h,
# transport_accept.h, transport_stream.h, transport_thread.h or transport_unix.h, what the system has, and files of its own folder.
plugin_layers() {
    plugin_bad=0
    for file in plugins/*/*.[ch]; do
        [ -e "$file" ] || continue
        if grep -nHE '^# *include *<netqueue/' "$file" | grep -vE '<netqueue/transport(_accept|_kit|_stream|_thread|_tls|_unix|_x509)?\.h>'; then
            plugin_bad=1
        fi
        # shellcheck disable=SC2013 # names of our files have no blanks
        for name in $(sed -nE 's/^# *include *"(.*)".*/\1/p' "$file"); do
            case $name in
            */*) ;;
            *) [ -e "${file%/*}/$name" ] && continue ;;
            esac
            echo "$file: \"$name\" is not a file of ${file%/*}"
            plugin_bad=1
        done
    done
    return "$plugin_bad"
}

# The tools are users: they see what is installed, and files of their own folder.  genconf is none:
# it prints the core's table of keys for config/ and is not installed.
tool_layers() {
    ! grep -nHE '^# *include *"(core|plugins|tests|bench)/' tools/*.[ch] tools/*/*.[ch] | grep -v '^tools/genconf\.c:'
}

# core/ must not know transports by name; "loop" is also a way of threading.
core_names() {
    ! grep -nE '"(tcp|loop|fault|mqtt|grpc|shm)"' core/*.[ch] | grep -v THREADING_LOOP
}

check "files of the core include only their rank or lower" core_layers
check "public headers include only public and standard headers" public_layers
check "plugins include only the headers for transports and their own files" plugin_layers
check "tools include only what is installed" tool_layers
check "the core knows no transport by name" core_names
tap_done
