# shellcheck shell=bash disable=SC2034
# Functions of scripts/run, scripts/test and scripts/new-daemon: install packages, build.
# Source it in the top directory of the checkout, with `set -euo pipefail`.

# The libraries of the service: lines PKG-CONFIG-NAME DEBIAN-PACKAGE, also read by daemon/CMakeLists.txt.
declare -A library_of_package=()
if [[ -e daemon/service/libraries ]]; then
	while read -r library package; do
		[[ ! $package ]] || library_of_package[$package]=$library
	done <daemon/service/libraries
fi
BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build pkg-config libevent-dev libconfuse-dev libssl-dev "${!library_of_package[@]}")
readonly REQUIREMENTS='skeld needs a C compiler, CMake >= 3.25, Ninja, pkg-config, libevent >= 2.1.12,
libconfuse >= 3.3 and OpenSSL >= 3.0 (or -DSKELD_TLS=OFF); its tests need Criterion >= 2.3.
  Debian: gcc libc6-dev cmake ninja-build pkg-config libevent-dev libconfuse-dev libssl-dev libcriterion-dev
  Fedora: gcc cmake ninja-build pkgconf-pkg-config libevent-devel libconfuse-devel openssl-devel'

# In Turkish, [a-z] does not match i.
export LC_ALL=C.UTF-8
export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

has_command() {
	command -v "$1" >/dev/null
}

# True if the content of PACKAGE is available, even if another package or no package provides it.
is_available() { # PACKAGE
	case $1 in
	"${library_of_package[$1]:+$1}") pkg-config --exists "${library_of_package[$1]}" ;;
	gcc) [[ ${CC:-} ]] || has_command cc ;;
	libc6-dev) [[ ${CC:-} ]] || echo '#include <stdlib.h>' | cc -E - ;;
	ninja-build) [[ $CMAKE_GENERATOR != Ninja ]] || has_command ninja ;;
	libevent-dev) pkg-config --exists 'libevent_core >= 2.1.12' ;;
	libconfuse-dev) pkg-config --exists 'libconfuse >= 3.3' ;;
	libssl-dev) pkg-config --exists 'libssl >= 3.0' ;;
	libcriterion-dev) pkg-config --exists 'criterion >= 2.3' ;;
	libclang-rt-dev) echo 'int main(void) { return 0; }' | clang -fsanitize=address -xc - -o /dev/null ;;
	dpkg-dev) has_command dpkg-shlibdeps ;;
	# full-only: begin
	chromium-driver) has_command chromedriver ;;
	man-db) has_command man ;;
	groff-base) has_command groff ;;
	haproxy | logrotate) PATH=$PATH:/usr/sbin has_command "$1" ;;
	iproute2) PATH=$PATH:/usr/sbin has_command ip ;;
	libsqlite3-dev) pkg-config --exists sqlite3 ;;
	python3-yaml) /usr/bin/python3 -c 'import yaml' ;;
	libmemcached-tools) has_command memccp ;;
	redis-tools) has_command redis-cli ;;
	nghttp2-client) has_command h2load ;;
	apache2-utils) has_command ab ;;
	netcat-openbsd) has_command nc ;;
	musl-tools) has_command musl-gcc ;;
	qemu-user-static) has_command qemu-aarch64-static ;;
	gcc-*-linux-gnu) has_command "${1#gcc-}-gcc" ;;
	# full-only: end
	*) has_command "$1" ;;
	esac &>/dev/null
}

list_missing() { # PACKAGE...
	local package
	for package; do
		is_available "$package" || echo "$package"
	done
}

can_become_root() {
	((EUID == 0)) || { has_command sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; }
}

as_root() { # COMMAND...
	if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Install the packages that are missing. If none is, do nothing.
install_packages() { # PACKAGE...
	local log=build/install.log missing
	local get=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120)
	mapfile -t missing < <(list_missing "$@")
	((${#missing[@]})) || return 0

	has_command apt-get || die "missing packages: ${missing[*]} (names in Debian). apt-get is not available: install them yourself.
$REQUIREMENTS"
	can_become_root || die "missing packages: ${missing[*]}. Run as root:
  apt-get update && apt-get install --no-install-recommends ${missing[*]}"

	echo "installing ${missing[*]}"
	mkdir -p build
	# Ignore a failed update: the package lists of the last one may be enough.
	{ as_root "${get[@]}" update || true
	  as_root "${get[@]}" install -y --no-install-recommends "${missing[@]}"; } &>"$log" || {
		tail -n 15 "$log" >&2
		die "apt-get cannot install ${missing[*]}: check the network. The log is $log."
	}
	mapfile -t missing < <(list_missing "$@")
	((${#missing[@]} == 0)) || die "apt-get installed ${missing[*]}, but the version is too old or the files are not found.
$REQUIREMENTS"
}

# Filter: on a terminal, lines that match PATTERN follow each other in one line, which is erased at the end.
on_one_line() { # PATTERN
	local line erase=$'\r\e[K'
	[[ -t 1 ]] || exec cat
	while IFS= read -r line; do
		if [[ $line =~ $1 ]]; then printf '%s%.79s' "$erase" "$line"; else printf '%s%s\n' "$erase" "$line"; fi
	done
	printf %s "$erase"
}

# Configure and build. Print only warnings and errors; on a terminal, show the progress.
build() { # DIR TARGET [CMAKE OPTION...]
	local dir=$1 target=$2 quiet=(-- --quiet)
	[[ ! -t 1 ]] || quiet=()
	shift 2
	echo "building $dir"
	cmake -S . -B "$dir" "$@" >/dev/null ||
		die "cmake fails. If $dir is from another directory, or from a compiler that is gone, remove it: rm -r $dir"
	cmake --build "$dir" --target "$target" --parallel "$(nproc)" "${quiet[@]}" | sed -u '/no work to do/d' | on_one_line '^\['
}
