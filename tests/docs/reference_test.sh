#!/bin/sh
# Doxygen has nothing to say against the comments of the public headers and the guides, and every
# function is in what it makes.
. "${top_srcdir:-.}/tests/support/tap.sh"
command -v doxygen >/dev/null || skip_all "doxygen is not installed"
tap_mktemp
cd "$tap_tmp" || exit 99

made() {
    { cat "$top_builddir/docs/Doxyfile" && echo "OUTPUT_DIRECTORY = $tap_tmp"; } | doxygen - >said 2>&1
    code=$?
    ! grep . said && [ "$code" -eq 0 ]
}

every_function_is_there() {
    sed -n 's/.*[ *]\(nq_[a-z0-9_]*\);$/\1/p' "$top_srcdir/core/libnetqueue.map" | sort -u >names
    while read -r name; do
        grep -q ">$name()" html/globals_func*.html || echo "$name is not there"
    done <names >missing
    [ -s names ] && ! grep . missing
}

front_page_is_the_tutorial() {
    grep -q "Ten minutes to the first message" html/index.html && grep -q operations html/index.html
}

check "doxygen makes the reference without a warning" made
check "every function that the library exports is in it" every_function_is_there
check "its front page leads to the guides" front_page_is_the_tutorial
tap_done
