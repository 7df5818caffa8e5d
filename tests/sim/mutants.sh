#!/bin/sh
# Build the simulation with each planted bug of mutants.txt, and want it found.  TAP.
#
#     mutants.sh SRCDIR BUILDDIR [SEEDS]
#
# Run by `make planted`, in BUILDDIR; needs perl.  NQ_MUTANTS is a pattern of names: only those.  The simulation without a bug must pass first; a bug counts as found when the simulation
# says so of a seed, or dies of it.
set -u
src=$(realpath "$1") build=$(realpath "$2") seeds=${3:-20000}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
trap 'exit 99' HUP INT TERM
net=$build/tests/sim/.libs/simnet.so
NETQUEUE_PLUGIN_PATH=$build/tests/sim/.libs
NETQUEUE_PLUGIN_UNSAFE=1
NETQUEUE_LOG=error
export NETQUEUE_PLUGIN_PATH NETQUEUE_PLUGIN_UNSAFE NETQUEUE_LOG

# The blocks become files: N/name, N/file, N/old, N/new.
perl -e '
    use strict;
    my ($list, $work, $wanted) = @ARGV;
    my ($n, $name, $file, $old, $new) = (0);
    my $flush = sub {
        return unless defined $name && $name =~ /$wanted/;
        chomp($old, $new);
        mkdir "$work/$n" or die $!;
        for (["name", $name], ["file", $file], ["old", $old], ["new", $new]) {
            open my $out, ">", "$work/$n/$_->[0]" or die $!;
            print $out $_->[1];
        }
        $n++;
    };
    open my $in, "<", $list or die "$list: $!";
    while (<$in>) {
        if (/^== (.*)/) { $flush->(); ($name, $file, $old, $new) = ($1, "", "", ""); }
        elsif (/^#/ || /^$/) { }
        elsif (/^-(.*)/s) { $old .= $1; }
        elsif (/^\+(.*)/s) { $new .= $1; }
        else { chomp; $file = $_; }
    }
    $flush->();
    open my $out, ">", "$work/count" or die $!;
    print $out $n;
' "$src/tests/sim/mutants.txt" "$work" "${NQ_MUTANTS:-.}" || exit 99

# The changed file of the bug in the folder $1 is $1/planted.c.
plant() {
    perl -e '
        use strict;
        my ($source, $old, $new, $out) = @ARGV;
        my @text = map { open my $in, "<", $_ or die "$_: $!"; local $/; scalar <$in> // "" }
            $source, $old, $new;
        my $count = () = $text[0] =~ /\Q$text[1]\E/g;
        die "$source has this $count times: $text[1]\n" if $count != 1;
        $text[0] =~ s/\Q$text[1]\E/$text[2]/;
        open my $to, ">", $out or die $!;
        print $to $text[0];
    ' "$src/$(cat "$1/file")" "$1/old" "$1/new" "$1/planted.c"
}

# The core with the planted file in place of its own.
assemble() {
    object=libnqcore_la-$(basename "$(cat "$1/file")" .c).o
    cp "$build/core/.libs/libnqcore.a" "$1/core.a" && ar d "$1/core.a" "$object" || return 1
    # shellcheck disable=SC2086 # lists of flags
    ${CC:-cc} -std=gnu17 -D_GNU_SOURCE -w -g -O1 -DHAVE_CONFIG_H -I"$build" -I"$src" \
        -I"$src/include" -include nq_config.h -c -o "$1/$object" "$1/planted.c" &&
        ar q "$1/core.a" "$1/$object" && ranlib "$1/core.a" &&
        ${CC:-cc} -o "$1/sim" ${SIM_OBJECTS:?} ${SIM_WRAP:?} "$1/core.a" ${SIM_LIBS:?}
}

# What became of the bug in the folder $1: a line of TAP without its number.
hunt() {
    name=$(cat "$1/name")
    if ! { plant "$1" && assemble "$1"; } >"$1/log" 2>&1; then
        echo "not ok - $name (it cannot be planted)"
        sed 's/^/# /' "$1/log"
        return
    fi
    timeout 240 "$1/sim" "$net" 1 "$seeds" >"$1/out" 2>&1
    status=$?
    why=$(grep -a -h -m 1 -e '^seed [0-9]*, step [1-9]' -e Assertion "$1/out")
    if [ "$status" -eq 0 ]; then
        echo "not ok - $name (not found within $seeds seeds)"
    elif [ -n "$why" ] || [ "$status" -gt 128 ]; then
        echo "ok - $name (${why:-it died of signal $((status - 128))})"
    else
        echo "not ok - $name (exit status $status)"
        tail -n 3 "$1/out" | sed 's/^/# /'
    fi
}

# Every processor hunts for its share: K of N.
hunt_share() {
    at=$1
    while [ "$at" -lt "$count" ]; do
        hunt "$work/$at" >"$work/$at/verdict"
        rm -f "$work/$at/core.a" "$work/$at/sim"
        at=$((at + $2))
    done
}

count=$(cat "$work/count")
echo "1..$((count + 1))"
if ! timeout 120 "$build/tests/sim/sim" "$net" 1 50 >"$work/out" 2>&1; then
    echo "not ok 1 - without a bug nothing is found"
    tail -n 3 "$work/out" | sed 's/^/# /'
    exit 1
fi
echo "ok 1 - without a bug nothing is found"
shares=$(nproc)
for share in $(seq 0 $((shares - 1))); do
    hunt_share "$share" "$shares" &
done
wait
n=0
while [ "$n" -lt "$count" ]; do
    sed "s/^\(ok\|not ok\) -/\1 $((n + 2)) -/" "$work/$n/verdict"
    n=$((n + 1))
done
! grep -q '^not ok' "$work"/*/verdict
