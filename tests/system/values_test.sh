#!/bin/sh
# put and get --value: JSON at a shell, values of the library's serializers on the wire.
. "${top_srcdir:-.}/tests/support/tap.sh"
. "$top_srcdir/tests/support/command.sh"

two_sides

printf '%s\n' '{"name": "a", "list": [1, 2.5, null, true]}' '"text"' '[]' >lines
printf '%s\n' '{"name":"a","list":[1,2.5,null,true]}' '"text"' '[]' >compact

# moved COUNT GET_OPTIONS PUT_OPTIONS: what get prints is in printed, what it says in get.err.
moved() {
    # shellcheck disable=SC2086 # lists of words
    start_get -n "$1" $2 >printed 2>get.err
    # shellcheck disable=SC2086
    nq put -c client.json --timeout 30s $3 2>put.err
    put_code=$?
    wait "$getter"
    get_code=$?
}

there_and_back() { # KIND
    moved 3 "--value=$1" "--value=$1 --lines lines"
    [ "$put_code" -eq 0 ] && [ "$get_code" -eq 0 ] && cmp compact printed
}

whole_files() {
    moved 1 --value=json "--value=json one.json"
    [ "$put_code" -eq 0 ] && [ "$get_code" -eq 0 ] && [ "$(cat printed)" = '{"a":[1]}' ]
}

python_reads_it() {
    moved 1 "" "--value=pickle one.json"
    python3 -c 'import pickle, sys; print(pickle.load(open("printed", "rb")))' >seen &&
        [ "$(cat seen)" = "{'a': [1]}" ]
}

python_writes_it() {
    python3 -c 'import datetime, pickle, sys
pickle.dump({"t": (1, "x"), "d": datetime.date(2026, 1, 2)}, sys.stdout.buffer)' >pickled
    moved 1 --value=pickle pickled
    [ "$get_code" -eq 0 ] && [ "$(cat printed)" = '{"t":[1,"x"],"d":"2026-01-02"}' ]
}

# The good ones go, and both sides say which was not.
bad_lines() {
    printf '%s\n' '1' '{' '2' >some
    moved 2 --value=json "--value=json --lines some"
    [ "$put_code" -eq 1 ] && [ "$get_code" -eq 0 ] && [ "$(cat printed)" = "$(printf '1\n2')" ] &&
        says put.err 'put: some line 2: ' || return 1
    printf '%s\n' '1' 'x' '2' >some
    moved 3 --value=json "--lines some"
    [ "$put_code" -eq 0 ] && [ "$get_code" -eq 1 ] && [ "$(cat printed)" = "$(printf '1\n2')" ] &&
        says get.err 'get: message 2, from [0-9a-f-]*: '
}

usage_codes() {
    ends 2 nq put -c client.json --value=yaml && says err '"yaml" is neither json nor pickle' &&
        ends 2 nq get -c client.json --value=yaml &&
        ends 2 nq get -c client.json --value=json -o somewhere && says err 'for standard output'
}

printf '{\n  "a": [\n    1\n  ]\n}\n' >one.json
check "JSON goes there and back" there_and_back json
check "the same as a pickle" there_and_back pickle
check "a file is one value" whole_files
if command -v python3 >/dev/null; then
    check "Python reads the pickle" python_reads_it
    check "Python's pickle is printed as JSON" python_writes_it
else
    skip "Python reads the pickle" "no python3"
fi
check "what is no value is named, and the others go" bad_lines
check "wrong usage" usage_codes
tap_done
