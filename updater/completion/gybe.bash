# SPDX-License-Identifier: MIT
# bash completion for gybe(1); installed as share/bash-completion/completions/gybe

_gybe_verbs="status check plan stage finalize update commit rollback health watch pin unpin hold unhold skip unskip policy quarantine
  history audit diff"
_gybe_options="--root --disk --json --quiet --no-progress --no-agent --yes --version --no-reboot --allow-downgrade --override
  --until --reason --at --all --help"

# The releases that this host knows: what runs, lies staged or is offered.
_gybe_versions() {
        gybe --json status 2>/dev/null | sed -nE 's/^ *"(version|offered)": *"([^"]*)".*/\2/p' | sort -u
}

_gybe_ids() {
        gybe --json quarantine list 2>/dev/null | sed -nE 's/^ *"id": *"([0-9a-f]*)".*/\1/p'
}

_gybe() {
        local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb="" second="" i
        COMPREPLY=()

        case $prev in
                --root) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
                --disk) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --version) mapfile -t COMPREPLY < <(compgen -W "$(_gybe_versions)" -- "$cur"); return ;;
                --until) mapfile -t COMPREPLY < <(compgen -W "1h 8h 1d 7d" -- "$cur"); return ;;
                --reason|--at) return ;;
        esac
        if [[ $cur == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$_gybe_options" -- "$cur")
                return
        fi
        for ((i = 1; i < COMP_CWORD; i++)); do
                case ${COMP_WORDS[i]} in
                        --root|--disk|--version|--until|--reason|--at) ((i++)) ;;
                        -*) ;;
                        *) if [[ -z $verb ]]; then verb=${COMP_WORDS[i]}; else second=${COMP_WORDS[i]}; fi ;;
                esac
        done
        case $verb:$second in
                :) mapfile -t COMPREPLY < <(compgen -W "$_gybe_verbs" -- "$cur") ;;
                policy:) mapfile -t COMPREPLY < <(compgen -W "explain" -- "$cur") ;;
                quarantine:) mapfile -t COMPREPLY < <(compgen -W "list clear" -- "$cur") ;;
                quarantine:clear) mapfile -t COMPREPLY < <(compgen -W "$(_gybe_ids)" -- "$cur") ;;
                pin:|skip:|unskip:) mapfile -t COMPREPLY < <(compgen -W "$(_gybe_versions)" -- "$cur") ;;
                check:|plan:|stage:|update:)
                        mapfile -t COMPREPLY < <(compgen -d -S / -- "$cur"; compgen -f -X '!*.@(release.json|cosi)' -- "$cur")
                        compopt -o nospace 2>/dev/null ;;
        esac
}

complete -F _gybe gybe
