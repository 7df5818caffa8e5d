#!/bin/sh
# Completion in bash and zsh offers what --help tells: every command, every option of each, and what
# an option takes.
. "${top_srcdir:-.}/tests/support/tap.sh"
. "$top_srcdir/tests/support/command.sh"

PATH=$(dirname "$NETQUEUE"):$PATH
export PATH
folder=$top_srcdir/tools/completion

commands=$(nq --help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')

# The long options of a command, = behind those with a value: another way to read the help.
options() {
    nq "$1" --help | awk '/^Options:/ { on = 1; next } /^$/ { on = 0 }
        on && match($0, /--[a-z-]+=?/) && RSTART < 8 { print substr($0, RSTART, RLENGTH) }' | sort
}

# offered WORD...: what bash offers for the last of these words, one in a line.
offered() {
    bash -c '. "$0/netqueue"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _netqueue "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf "%s\n" "${COMPREPLY[@]}"' "$folder" "$@" | sort
}

same_words() { # WANT GOT
    [ "$1" = "$2" ] && return
    echo "wanted: $1"
    echo "got: $2"
    return 1
}

bash_commands() {
    same_words "$(echo "$commands" | sort)" "$(offered netqueue '')" &&
        same_words "get" "$(offered netqueue ge)" &&
        same_words "$(printf '%s\n' --help --version)" "$(offered netqueue -)"
}

bash_options() {
    for command in $commands; do
        echo "$command"
        same_words "$(options "$command")" "$(offered netqueue "$command" -)" || return 1
    done
    same_words "--config=" "$(offered netqueue put --conf)"
}

bash_values() {
    jobs=$(printf '%s\n' async both mix oneway rtt sync)
    transports=$(nq transports | sed '1d; s/ .*//' | sort)
    [ -n "$transports" ] && same_words "$transports" "$(offered netqueue bench --transport '')" &&
        same_words "$transports" "$(offered netqueue bench --transport =)" &&
        same_words "$transports" "$(offered netqueue bench -t '')" &&
        same_words "$transports" "$(offered netqueue transports '')" &&
        same_words "$jobs" "$(offered netqueue bench '')" &&
        same_words "$(printf '%s\n' block fail)" "$(offered netqueue bench --policy = '')" &&
        same_words "auto" "$(offered netqueue bench --spin = a)" &&
        same_words "" "$(offered netqueue put -t '')" && same_words "" "$(offered netqueue get --timeout = '')"
}

bash_folders() {
    mkdir -p folders/one folders/two
    echo text >folders/file
    same_words "$(printf '%s\n' folders/one folders/two)" "$(offered netqueue get --output = folders/)" &&
        same_words "" "$(offered netqueue put -c '')"
}

# zsh's own functions print what they are given.
zsh_offered() {
    zsh -f -c 'folder=$1; shift
        _describe() { [[ $1 == -o ]] && shift; print -l -- ${(P)2} }
        _files() { print files }
        compset() { : }
        words=("$@") CURRENT=$#
        . $folder/_netqueue' zsh "$folder" "$@" | sed 's/:.*//' | sort
}

zsh_works() {
    same_words "$(echo "$commands" | sort)" "$(zsh_offered netqueue '')" || return 1
    for command in $commands; do
        echo "$command"
        same_words "$(options "$command")" "$(zsh_offered netqueue "$command" -)" || return 1
    done
    same_words files "$(zsh_offered netqueue put '')" &&
        same_words files "$(zsh_offered netqueue put --config=x)" &&
        same_words "$(nq transports | sed '1d; s/ .*//' | sort)" "$(zsh_offered netqueue transports '')"
}

# As bash-completion loads it for a command that is typed.
loaded_by_name() {
    stage_file=$(find "$top_builddir/tests/stage" -path '*/bash-completion/completions/netqueue')
    [ -n "$stage_file" ] && cmp "$stage_file" "$folder/netqueue" &&
        XDG_DATA_DIRS=${stage_file%/bash-completion/*} bash -c '
            . /usr/share/bash-completion/bash_completion
            _completion_loader netqueue
            complete -p netqueue' | grep -e '-F _netqueue netqueue'
}

if command -v bash >/dev/null; then
    check "bash offers every command" bash_commands
    check "bash offers every option" bash_options
    check "bash offers what an option takes" bash_values
    check "bash leaves names of files to itself" bash_folders
else
    skip "bash offers every command" "no bash"
fi
if [ -e /usr/share/bash-completion/bash_completion ] && [ -d "$top_builddir/tests/stage" ]; then
    check "bash-completion finds the installed file" loaded_by_name
else
    skip "bash-completion finds the installed file" "bash-completion is not installed"
fi
if command -v zsh >/dev/null; then
    check "zsh offers the same" zsh_works
else
    skip "zsh offers the same" "no zsh"
fi
tap_done
