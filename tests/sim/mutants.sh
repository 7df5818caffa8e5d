#!/bin/sh
# Build the simulation with each planted bug of mutants.txt, and want it found.
#
#     mutants.sh SRCDIR BUILDDIR [SEEDS]
#
# Needs the object files of the core in BUILDDIR, and perl.
set -u
src=$1 build=$2 seeds=${3:-2000}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
trap 'exit 99' HUP INT TERM

# The blocks become files: N.name, N.file, N.old, N.new.
perl -e '
    use strict;
    my ($list, $work) = @ARGV;
    my ($n, $name, $file, $old, $new) = (0);
    my $flush = sub {
        return unless defined $name;
        chomp($old, $new);
        for (["name", $name], ["file", $file], ["old", $old], ["new", $new]) {
            open my $out, ">", "$work/$n.$_->[0]" or die $!;
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
' "$src/tests/sim/mutants.txt" "$work" || exit 99

# plant N: the changed file is $work/planted.c
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
    ' "$src/$(cat "$work/$1.file")" "$work/$1.old" "$work/$1.new" "$work/planted.c"
}

# The core with the planted file in place of its own.
assemble() {
    cp "$build/core/.libs/libnqcore.a" "$work/core.a" || return 1
    object=libnqcore_la-$(basename "$file" .c).o
    ar d "$work/core.a" "$object" || return 1
    # shellcheck disable=SC2086 # lists of flags
    ${CC:-cc} -std=gnu17 -D_GNU_SOURCE -w -g -O1 -DHAVE_CONFIG_H -I"$build" -I"$src" \
        -I"$src/include" -include nq_config.h -c -o "$work/$object" "$work/planted.c" &&
        ar q "$work/core.a" "$work/$object" && ranlib "$work/core.a" &&
        ${CC:-cc} -o "$work/sim" "$build"/tests/sim/sim.o "$build"/tests/sim/sim_*.o ${SIM_WRAP:?} "$work/core.a" ${SIM_LIBS:?}
}

count=$(cat "$work/count")
echo "1..$count"
n=0 failed=0
NETQUEUE_PLUGIN_PATH=$build/tests/sim/.libs
NETQUEUE_PLUGIN_UNSAFE=1
export NETQUEUE_PLUGIN_PATH NETQUEUE_PLUGIN_UNSAFE
while [ "$n" -lt "$count" ]; do
    name=$(cat "$work/$n.name") file=$(cat "$work/$n.file")
    if ! plant "$n" || ! assemble >"$work/log" 2>&1; then
        verdict="not ok"
        why="it cannot be planted"
        [ ! -s "$work/log" ] || sed 's/^/# /' "$work/log"
    elif timeout 300 "$work/sim" "$build/tests/sim/.libs/simnet.so" 1 "$seeds" >"$work/out" 2>&1; then
        verdict="not ok"
        why="not found within $seeds seeds"
    else
        verdict=ok
        why=$(grep -h -m 1 -e '^seed' -e Assertion "$work/out" || echo "it crashed")
    fi
    [ "$verdict" = ok ] || failed=$((failed + 1))
    n=$((n + 1))
    echo "$verdict $n - $name ($why)"
done
[ "$failed" -eq 0 ]
