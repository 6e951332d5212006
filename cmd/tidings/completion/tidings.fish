# Completion of tidings for fish. tidings completion fish > ~/.config/fish/completions/tidings.fish

function __tidings_complete
    set -l request (commandline -opc)
    set -l current (commandline -ct)
    if string match -q -- '-*' "$current"
        set -a request "$current"
    end
    # fish shows what follows a tab as a description.
    $request --generate-shell-completion 2>/dev/null </dev/null | string replace -a '`' '' | string replace -r '^([^:]*):' '$1\t'
end

complete -c tidings -a '(__tidings_complete)'
