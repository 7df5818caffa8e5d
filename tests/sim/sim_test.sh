#!/bin/sh
# sim_test.sh [SEEDS]: the simulation, on all processors, and that a seed repeats itself.
# NQ_SIM_FIRST is the first seed; a failing one is named, with the command that shows it.
. "${top_srcdir:-.}/tests/support/tap.sh"

seeds=${1:-400}
first=${NQ_SIM_FIRST:-1}
sim=${top_builddir:-.}/tests/sim/sim
net=${top_builddir:-.}/tests/sim/.libs/simnet.so
[ -x "$sim" ] || skip_all "$sim is not built"
NETQUEUE_PLUGIN_PATH=$(dirname "$net")
NETQUEUE_PLUGIN_UNSAFE=1
NETQUEUE_LOG=error
export NETQUEUE_PLUGIN_PATH NETQUEUE_PLUGIN_UNSAFE NETQUEUE_LOG

# run FIRST COUNT [OPTION]: its last words are shown when it fails.
run() {
    "$sim" "$net" "$@" >"out.$1" 2>&1 && { tail -n 1 "out.$1" | sed 's/^/# /'; return; }
    tail -n 5 "out.$1"
    seed=$(sed -n 's/^seed \([0-9]*\),.*/\1/p' "out.$1" | tail -n 1)
    echo "to see it: $sim $net ${seed:-$1} 1 -v"
    return 1
}

repeats() {
    run "$first" 20 --twice
}

# Each processor has its part; the last one the rest.
all_seeds() {
    parts=$(nproc)
    part=$((seeds / parts)) at=$first pids=''
    for n in $(seq "$parts"); do
        [ "$n" -lt "$parts" ] || part=$((first + seeds - at))
        run "$at" "$part" &
        pids="$pids $!"
        at=$((at + part))
    done
    verdict=0
    for pid in $pids; do
        wait "$pid" || verdict=1
    done
    return "$verdict"
}

tap_mktemp
sim=$(realpath "$sim") net=$(realpath "$net")
NETQUEUE_PLUGIN_PATH=$(dirname "$net")
cd "$tap_tmp" || exit 99
check "a seed repeats itself" repeats
check "$seeds seeds from $first on: nothing lost, nothing twice, nothing that is not so" all_seeds
tap_done
