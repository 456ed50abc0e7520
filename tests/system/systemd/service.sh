# shellcheck shell=bash disable=SC2034
# Shared by the tests under a private systemd: install skeld as a service, and examine it.
. "$SKELD_SOURCE/tests/support/tap.sh"

CONF=$(sed -n 's/^ExecStart=.* -c //p' "$SKELD_BUILD/systemd/skeld.service")
# The kernel truncates the name to 15 characters.
COMM=$(printf %.15s skeld)
readonly CONF COMM PORT=7007
began=0

install_skeld() {
	cmake --install "$SKELD_BUILD" >/run/install.log
	serve_echo
	systemctl daemon-reload
	mark
}

# These tests need the echo service. If the project has another service, replace its daemon by echo.
serve_echo() {
	local daemon
	daemon=$(sed -n 's/^ExecStart=\([^ ]*\) .*/\1/p' "$SKELD_BUILD/systemd/skeld.service")
	[[ $SKELD_ECHO != "$SKELD" ]] || return 0
	install "$SKELD_ECHO" "$daemon"
	echo '# only defaults' >/run/defaults.conf
	"$daemon" -c /run/defaults.conf --dump-config >"$CONF"
}

# Writes a drop-in with these lines of its [Service] section.
drop_in() { # NAME UNIT LINE...
	local dir=/run/systemd/system/$2.d file=$1
	mkdir -p "$dir"
	shift 2
	printf '%s\n' '[Service]' "$@" >"$dir/$file.conf"
	systemctl daemon-reload
}

property() { # NAME [UNIT]
	systemctl show --value --property="$1" "${2-skeld}"
}

# COMMAND prints WANTED, nothing else.
prints() { # WANTED COMMAND...
	local wanted=$1 output
	shift
	output=$("$@" 2>&1) || true
	[[ $output == "$wanted" ]] || { printf 'wanted: %s\ngot: %s\n' "$wanted" "$output" && return 1; }
}

# A line that COMMAND prints matches PATTERN.
shows() { # PATTERN COMMAND...
	local pattern=$1 output
	shift
	output=$("$@" 2>&1) || true
	grep -qE -- "$pattern" <<<"$output" || { printf 'wanted: %s\ngot: %s\n' "$pattern" "$output" && return 1; }
}

fails() { # COMMAND...
	! "$@"
}

# `journal` prints the messages of skeld since the last mark.
mark() {
	journalctl --sync
	began=$EPOCHREALTIME
}

journal() { # [OPTION OF journalctl...]
	journalctl --sync
	journalctl --quiet --output=cat --unit='skeld*' --since="@$began" "$@"
}

# Puts a mistake into the configuration. WRONG is the beginning of its error message. `repair` undoes it.
spoil() {
	cp "$CONF" /run/good.conf
	sed -i 's/^workers = 0\b/workers = many/' "$CONF"
	WRONG="$CONF:$(grep -n '^workers = many' "$CONF" | cut -d: -f1): workers = "
}

repair() {
	cp /run/good.conf "$CONF"
}

# Sends the question to the service and compares the answer.
QUESTION=$'hello\n' ANSWER=$'hello\n'
talk() { # [PORT]
	local answer LC_ALL=C
	exec {peer}<>"/dev/tcp/127.0.0.1/${1-$PORT}" || return 1
	printf %s "$QUESTION" >&"$peer"
	answer=$(timeout $((10 * slow)) head -c ${#ANSWER} <&"$peer" && echo .)
	exec {peer}>&-
	[[ $answer == "$ANSWER." ]] || { echo "got: $answer" && return 1; }
}

# Replaces the one of tap.sh: also prints the journal since the previous failure.
not_ok() { # NAME MESSAGE
	local message
	message=$2$'\n'$(journalctl --quiet --output=short-precise --cursor-file=/run/shown | tail -n 40)
	echo "not ok $((++tests)) - $1"
	echo "# ${message//$'\n'/$'\n'# }"
}

# Runs COMMAND while eight clients use the service. Prints the counts of restart_load.
under_load() { # COMMAND...
	local counts=/run/counts load
	"$SKELD_BUILD/tests/system/systemd/systemd_restart_load" $PORT 8 "$QUESTION" "$ANSWER" >$counts &
	load=$!
	"$@" >&2
	kill -TERM $load
	wait $load
	cat $counts
}

# reset-failed: StartLimitBurst= does not limit the restarts of the test.
restart() { # TIMES
	local i
	for ((i = 0; i < $1; i++)); do
		systemctl reset-failed skeld
		systemctl restart skeld || return
	done
}

crash() { # TIMES
	local i pid
	for ((i = 0; i < $1; i++)); do
		systemctl reset-failed skeld
		pid=$(property MainPID)
		kill -KILL "$pid"
		eventually started_after "$pid" || return
	done
}

started_after() { # PID
	local now
	now=$(systemctl show --property=SubState --property=MainPID skeld)
	[[ $now == *SubState=running* && $now != *MainPID="$1"* && $now != *MainPID=0* ]]
}

# The counts of restart_load have KIND=0.
none() { # KIND COUNTS
	[[ " $2 " == *" $1=0 "* ]] || { echo "$2" && return 1; }
}

many_ok() { # COUNTS
	local ok=${1#ok=}
	((${ok%% *} > 1000)) || { echo "$1" && return 1; }
}
