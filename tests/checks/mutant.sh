# shellcheck shell=bash
# Mutants: sources with one mistake each, which a test has to find. Source it in a script that prints the
# names of its mutants without arguments, and writes one with NAME IN.C OUT.C.

# What follows replaces in the text of IN.C.
begin_mutant() { # NAME IN.C OUT.C
	mutant=$1 out=$3
	text=$(cat "$2"; echo .)
	original=${text%.} text=${text%.}
}

# What is to be replaced must stand in it exactly once: if not, that is said, and OUT.C is a plain copy, in
# which no test will find anything wrong.
replace() { # WHAT WITH
	local rest=${text#*"$1"}
	if [[ $rest == "$text" || $rest == *"$1"* ]]; then
		printf '%s' "$original" >"$out"
		printf 'mutant %s: this is not in the source, or more than once: %s\n' "$mutant" "$1" >&2
		exit 1
	fi
	text=${text%%"$1"*}$2$rest
}

end_mutant() {
	printf '%s' "$text" >"$out"
}
