# shellcheck shell=bash
# Mutants: sources with one mistake each, which a test has to find. For scripts that print the names of their
# mutants without arguments, and write one mutant with NAME IN.C OUT.C.

# Begins a mutant: replace() works on the text of IN.C.
begin_mutant() { # NAME IN.C OUT.C
	mutant=$1 out=$3
	text=$(cat "$2"; echo .)
	original=${text%.} text=${text%.}
}

# WHAT must be in the text exactly once. Otherwise the script prints an error and OUT.C is a plain copy, in which
# no test finds a mistake.
replace() { # WHAT WITH
	# Not ${text#*"$1"}: it takes bash half a second for a file, because it tries each length of the prefix.
	local before=${text%%"$1"*}
	local rest=${text:${#before}+${#1}}
	if [[ $before == "$text" || $rest == *"$1"* ]]; then
		printf '%s' "$original" >"$out"
		printf 'mutant %s: this is not in the source, or more than once: %s\n' "$mutant" "$1" >&2
		exit 1
	fi
	text=$before$2$rest
}

end_mutant() {
	printf '%s' "$text" >"$out"
}
