#!/bin/sh
# The files of a new transport as C, for tools/cmd_new_transport.c: embed.sh FILE...
for file in "$@"; do
    printf '{"%s", (const char *const[]){\n' "${file##*/}"
    sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&\\n",/' "$file" || exit
    echo 'NULL}},'
done
