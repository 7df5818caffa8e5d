#!/bin/sh
# Every C file in the folders is in a list of the build: one that is forgotten would be missing
# from the release, and from the tests.
. "${top_srcdir:-.}/tests/support/tap.sh"
cd "$top_srcdir" || exit 99
[ -n "${NQ_SOURCES:-}" ] || skip_all "the list comes from make check"
tap_mktemp

# Paths in make's lists begin with the source folder in some of them.
for file in $NQ_SOURCES; do
    file=${file#"$top_srcdir"/}
    while :; do
        case $file in
        ../* | ./*) file=${file#*/} ;;
        *) break ;;
        esac
    done
    printf '%s\n' "$file"
done | sort -u >"$tap_tmp/listed"

find include core plugins tools bench tests -name tmp.\* -prune -o -name stage -prune -o \
    -name '*.[ch]' -print | sort >"$tap_tmp/found"

forgotten() {
    ! comm -13 "$tap_tmp/listed" "$tap_tmp/found" | grep .
}
unlisted_tests() {
    bad=0
    for file in tests/api/*_test.sh tests/bench/*_test.sh tests/docs/*_test.sh tests/system/*_test.sh; do
        grep -q "${file#tests/}" tests/tests.am || {
            echo "$file"
            bad=1
        }
    done
    return "$bad"
}
check "every C file is in a list of the build" forgotten
check "every test script is in tests.am" unlisted_tests
tap_done
