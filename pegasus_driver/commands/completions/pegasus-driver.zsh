# zsh completion for pegasus-driver, after compinit:  source <(./pegasus-driver completion zsh)
_pegasus_driver() {
    local -a found
    found=("${(@f)$(PEGASUS_COMPLETE=1 ${~words[1]} _complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( ${found[(Ie)<files>]} )); then
        _files
    elif (( $#found )); then
        compadd -- $found
    fi
}
compdef _pegasus_driver pegasus-driver
