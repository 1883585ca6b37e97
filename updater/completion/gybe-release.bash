# SPDX-License-Identifier: MIT
# bash completion for gybe-release(1); installed as share/bash-completion/completions/gybe-release. The program's own help says
# what there is.

_gybe_release() {
        local cur=${COMP_WORDS[COMP_CWORD]} verb="" words i
        COMPREPLY=()

        for ((i = 1; i < COMP_CWORD; i++)); do
                if [[ ${COMP_WORDS[i]} != -* ]]; then verb=${COMP_WORDS[i]}; break; fi
        done
        if [[ $cur == -* ]]; then
                words=$( { gybe-release --help; [[ -z $verb ]] || gybe-release "$verb" --help; } 2>/dev/null |
                        sed -nE 's/^  (-[a-z], )?(--[a-z-]+).*/\2/p')
        elif [[ -z $verb ]]; then
                words=$(gybe-release --help 2>/dev/null | sed -nE 's/^  ([a-z]+) .*/\1/p')
        elif [[ $verb == root && ${COMP_WORDS[COMP_CWORD-1]} == root ]]; then
                words="new rotate sign"
        else
                compopt -o default 2>/dev/null  # files
                return
        fi
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _gybe_release gybe-release
