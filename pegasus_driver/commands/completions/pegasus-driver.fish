# fish completion for pegasus-driver:  ./pegasus-driver completion fish | source
function __pegasus_driver
    set -l words (commandline -opc) (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l found (PEGASUS_COMPLETE=1 $program _complete -- $words[2..] 2>/dev/null)
    if contains -- '<files>' $found
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $found
    end
end
complete -c pegasus-driver -f -a '(__pegasus_driver)'
