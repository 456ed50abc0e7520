# shellcheck shell=bash
# Shared by the tests of scripts/new-daemon. $UPSTREAM is a git repository with the present files of the
# working tree. Everything is in $work, which is removed at the end.
. "$SKELD_SOURCE/tests/support/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
readonly UPSTREAM=$work/upstream
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
	GIT_CONFIG_KEY_1=user.name GIT_CONFIG_VALUE_1=test GIT_CONFIG_KEY_2=user.email GIT_CONFIG_VALUE_2=test@example.org

commit_all() { # DIRECTORY MESSAGE
	git -C "$1" add --all --force && git -C "$1" commit --quiet --message="$2"
}

# Commits the files of the working tree, also uncommitted ones.
make_upstream() {
	mkdir "$UPSTREAM"
	(
		cd "$SKELD_SOURCE" || exit
		git ls-files --cached --others --exclude-standard -z | xargs -0 ls -d 2>/dev/null |
			tar -cT - | tar -xC "$UPSTREAM"
	)
	git init --quiet --initial-branch=main "$UPSTREAM"
	commit_all "$UPSTREAM" 'the working tree'
}

new_daemon() { # ARGUMENT...
	"$UPSTREAM/scripts/new-daemon" "$@"
}

fails() { # COMMAND...
	! "$@"
}

# Prints NAME as it stands in names of macros and of environment variables.
upper() { # NAME
	local under=${1//-/_}
	echo "${under^^}"
}

if ! git -C "$SKELD_SOURCE" rev-parse &>/dev/null; then
	skip 'scripts/new-daemon creates a project' 'the source tree is not a git repository'
	done_testing
	exit
fi
make_upstream
