#!/bin/sh
# Completion in bash, zsh and fish offers what --help tells: every command, every option of each, and what
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

# Says file_names when bash is asked to complete these itself.
bash_default() { # WORD...
    bash -c '. "$0/netqueue"
        compopt() { [ "$*" != "-o default" ] || echo file_names; }
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _netqueue "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"' "$folder" "$@"
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
    jobs=$(printf '%s\n' async both mix oneway paced rtt sync)
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
        same_words "" "$(offered netqueue put -c '')" &&
        same_words file_names "$(bash_default netqueue put -c '')" &&
        same_words file_names "$(bash_default netqueue conform --inner = x)" &&
        same_words "" "$(bash_default netqueue get --timeout = '')"
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

# What fish itself answers; without descriptions, and without option= before a value.
fish_offered() { # LINE
    HOME=$tap_tmp fish -N -c 'source $argv[1]; complete -C $argv[2]' "$folder/netqueue.fish" "$1" |
        cut -f 1 | sed 's/^--[a-z-]*=\(.\)/\1/' | sort
}

fish_words() {
    same_words "$(echo "$commands" | sort)" "$(fish_offered 'netqueue ')" &&
        same_words get "$(fish_offered 'netqueue ge')" || return 1
    for command in $commands; do
        echo "$command"
        same_words "$(options "$command")" "$(fish_offered "netqueue $command -")" || return 1
    done
}

fish_values() {
    transports=$(nq transports | sed '1d; s/ .*//' | sort)
    mkdir -p there/one there/two
    echo text >there/file
    for before in transports 'bench -t' 'bench --transport'; do
        same_words "$transports" "$(fish_offered "netqueue $before ")" || return 1
    done
    same_words "$transports" "$(fish_offered 'netqueue bench --transport=')" &&
        same_words "$(printf '%s\n' block fail)" "$(fish_offered 'netqueue bench --policy=')" &&
        same_words "$(printf '%s\n' there/one/ there/two/)" "$(fish_offered 'netqueue get -o there/')" &&
        same_words there/file "$(fish_offered 'netqueue put --config=there/f')" &&
        same_words there/file "$(fish_offered 'netqueue conform --inner there/f')" &&
        same_words there/file "$(fish_offered 'netqueue put there/f')" &&
        same_words "" "$(fish_offered 'netqueue get --timeout=')" &&
        same_words "" "$(fish_offered 'netqueue put -t ')"
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

# As fish loads it, with its own configuration.
fish_loads_it() {
    stage_file=$(find "$top_builddir/tests/stage" -path '*/fish/vendor_completions.d/netqueue.fish')
    [ -n "$stage_file" ] && cmp "$stage_file" "$folder/netqueue.fish" &&
        same_words get "$(HOME=$tap_tmp XDG_DATA_DIRS=${stage_file%/fish/*} fish -c \
            'complete -C "netqueue ge"' | cut -f 1)"
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
if command -v fish >/dev/null; then
    check "fish offers every command and every option" fish_words
    check "fish offers what an option takes, and names of files" fish_values
    if [ -d "$top_builddir/tests/stage" ]; then
        check "fish finds the installed file" fish_loads_it
    else
        skip "fish finds the installed file" "nothing is installed"
    fi
else
    skip "fish offers every command and every option" "no fish"
fi
tap_done
