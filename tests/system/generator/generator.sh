# shellcheck shell=bash
# What the tests of scripts/new-daemon share: a repository of what is in the working tree, and tests of
# what was made from it. Everything is in $work, which goes at the end.
. "$SKELD_SOURCE/tests/support/tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
readonly UPSTREAM=$work/upstream
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
	GIT_CONFIG_KEY_1=user.name GIT_CONFIG_VALUE_1=test GIT_CONFIG_KEY_2=user.email GIT_CONFIG_VALUE_2=test@example.org

commit_all() { # DIRECTORY MESSAGE
	git -C "$1" add --all --force && git -C "$1" commit --quiet --message="$2"
}

# As it is now, committed or not.
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

# What the names of C and the environment are made of.
upper() { # NAME
	local under=${1//-/_}
	echo "${under^^}"
}

if ! git -C "$SKELD_SOURCE" rev-parse &>/dev/null; then
	skip 'new daemons are made' 'this is no git repository'
	done_testing
	exit
fi
make_upstream
