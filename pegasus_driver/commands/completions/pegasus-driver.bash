# bash completion for pegasus-driver:  source <(./pegasus-driver completion bash)
_pegasus_driver() {
    local program=${COMP_WORDS[0]/#\~\//$HOME/} word=${COMP_WORDS[COMP_CWORD]} line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == "<files>" ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
        elif [[ -n $line ]]; then
            COMPREPLY+=("$line")
        fi
    done < <(PEGASUS_COMPLETE=1 "$program" _complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _pegasus_driver pegasus-driver
