# shellcheck shell=bash
# What the tests of scripts/new-daemon share: a repository with the present files, and functions. Everything
# is in $work, which is removed at the end.
. "$SKELD_SOURCE/tests/support/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
readonly UPSTREAM=$work/upstream
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
	GIT_CONFIG_KEY_1=user.name GIT_CONFIG_VALUE_1=test GIT_CONFIG_KEY_2=user.email GIT_CONFIG_VALUE_2=test@example.org

commit_all() { # DIRECTORY MESSAGE
	git -C "$1" add --all --force && git -C "$1" commit --quiet --message="$2"
}

# The files as they are now, committed or not.
make_upstream() {
	mkdir "$UPSTREAM"
	(
		cd "$SKELD_SOURCE" || exit
		git ls-files --cached --others --exclude-standard -z | xargs -0 ls -d 2>/dev/null |
			tar -cT - | tar -xC "$UPSTREAM"
	)
	git init --quiet --initial-branch=main "$UPSTREAM"
	commit_all "$UPSTREAM" 'as it is now'
}

new_daemon() { # ARGUMENT...
	"$UPSTREAM/scripts/new-daemon" "$@"
}

fails() { # COMMAND...
	! "$@"
}

# The name in macros and environment variables.
upper() { # NAME
	local under=${1//-/_}
	echo "${under^^}"
}

# Runs ./scripts/test of the project in $work/NAME. All tests have to pass.
tested() { # NAME [ARGUMENT...]
	local status=0
	(cd "$work/$1" && ./scripts/test "${@:2}") &>"$work/tests" || status=$?
	tail -n 40 "$work/tests"
	((status == 0)) && [[ $(tail -n 1 "$work/tests") == *' passed, 0 failed, '* ]]
}

# The places that still have the name of upstream, except the record and the credit at the end of the README.
left() { # DIRECTORY
	find "$1" -iname '*skeld*' -not -path '*/.git/*'
	grep -rani skeld "$1" --exclude-dir=.git --exclude-dir='build*' | sed "s|^$1/||" |
		grep -vxF ".upstream:2:from = skeld" | grep -v "^README.md:[0-9]*:This project was made from "
}

if ! git -C "$SKELD_SOURCE" rev-parse &>/dev/null; then
	skip 'scripts/new-daemon makes projects' 'this is no git repository'
	done_testing
	exit
fi
make_upstream
