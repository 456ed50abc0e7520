#compdef skeld
# Completion for the command line of skeld in zsh. Install it as _skeld in a directory of $fpath.

_skeld_trials() {
	_sequence compadd - order burst storm
}

_arguments -s -S \
	'(-c --config)'{-c+,--config=}'[read this configuration]:file:_files' \
	'(-r --runtime-dir)'{-r+,--runtime-dir=}'[keep or find the runtime files here]:directory:_directories' \
	'(-t --check)'{-t,--check}'[check the configuration]' \
	'(-T --dump-config)'{-T,--dump-config}'[print the effective configuration]' \
	'(-s --signal)'{-s+,--signal=}'[send a command to the running daemon]:command:(reload stats stop status)' \
	'--self-test=-[check how signals are handled]::trial:_skeld_trials' \
	'--tap[print the self-test as TAP]' \
	'(-h --help)'{-h,--help}'[print the command line]' \
	'(-V --version)'{-V,--version}'[print versions and build options]'
