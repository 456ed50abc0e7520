# Completion for the command line of skeld in fish.

# Complete the last element of the list.
function __skeld_trials
	set --local list (string replace --regex '^--self-test=' '' -- (commandline --current-token))
	set --local done (string replace --regex '[^,]*$' '' -- "$list")
	printf '%s\n' $done{order,burst,storm}
end

complete --command skeld --no-files
complete --command skeld --short-option c --long-option config --require-parameter --force-files --description 'Read this configuration'
complete --command skeld --short-option r --long-option runtime-dir --exclusive --arguments '(__fish_complete_directories)' --description 'Keep or find the runtime files here'
complete --command skeld --short-option t --long-option check --description 'Check the configuration'
complete --command skeld --short-option T --long-option dump-config --description 'Print the effective configuration'
complete --command skeld --short-option s --long-option signal --exclusive --arguments 'reload stats stop status' --description 'Send a command to the running daemon'
complete --command skeld --long-option self-test --arguments '(__skeld_trials)' --description 'Check how signals are handled'
complete --command skeld --long-option tap --description 'Print the self-test as TAP'
complete --command skeld --short-option h --long-option help --description 'Print the command line'
complete --command skeld --short-option V --long-option version --description 'Print versions and build options'
