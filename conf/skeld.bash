# shellcheck shell=bash
# Completion for the command line of skeld. Use with bash-completion, or source it.

_skeld() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} trials
	COMPREPLY=()
	# bash splits words at "=": --config=FILE becomes --config = FILE.
	if [[ $previous == = ]]; then
		previous=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $current == = ]]; then
		current=
	elif [[ $previous == --self-test ]]; then
		previous=
	fi
	case $previous in
	-c | --config)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		;;
	-r | --runtime-dir)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -d -- "$current")
		;;
	-s | --signal)
		mapfile -t COMPREPLY < <(compgen -W 'reload stats stop status' -- "$current")
		;;
	--self-test)
		# Complete the last element of the list.
		trials=${current%"${current##*,}"}
		mapfile -t COMPREPLY < <(compgen -P "$trials" -W 'order burst storm' -- "${current##*,}")
		;;
	*)
		mapfile -t COMPREPLY < <(compgen -W '-c --config -r --runtime-dir -t --check
			-T --dump-config -s --signal --self-test --tap -h --help -V --version' -- "$current")
		;;
	esac
}
complete -F _skeld skeld
