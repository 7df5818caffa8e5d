#!/bin/sh
# Every C file looks as .clang-format says.
. "${top_srcdir:-.}/tests/support/tap.sh"
cd "$top_srcdir" || exit 99

# Other versions of the program lay out some lines differently.
version=14
command -v clang-format >/dev/null || skip_all "clang-format is not installed"
clang-format --version | grep -q " version $version\\." || skip_all "clang-format is not version $version"

for folder in include core plugins tools tests bench; do
    files=$(find "$folder" -name tmp.\* -prune -o -name stage -prune -o -name '*.[ch]' -print)
    [ -n "$files" ] || continue
    # shellcheck disable=SC2086 # our file names have no blanks
    check "$folder is formatted" clang-format --dry-run -Werror $files
done
tap_done
