# shellcheck shell=bash disable=SC2034
# What scripts/run and scripts/test share: installing what is missing, and building.
# Sourced from the top of the checkout, with `set -euo pipefail`.

readonly BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build pkg-config libevent-dev libconfuse-dev)
readonly BY_HAND='skeld needs a C compiler, CMake >= 3.25, Ninja, pkg-config, libevent >= 2.1.12 and
libconfuse >= 3.3, its tests Criterion >= 2.3.
  Debian: gcc libc6-dev cmake ninja-build pkg-config libevent-dev libconfuse-dev libcriterion-dev
  Fedora: gcc cmake ninja-build pkgconf-pkg-config libevent-devel libconfuse-devel'

export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

have() {
	command -v "$1" >/dev/null
}

# Is there what PACKAGE would bring, from wherever it came?
present() { # PACKAGE
	case $1 in
	gcc) [[ ${CC:-} ]] || have cc ;;
	libc6-dev) [[ ${CC:-} ]] || echo '#include <stdlib.h>' | cc -E - ;;
	ninja-build) [[ $CMAKE_GENERATOR != Ninja ]] || have ninja ;;
	libevent-dev) pkg-config --exists 'libevent_core >= 2.1.12' ;;
	libconfuse-dev) pkg-config --exists 'libconfuse >= 3.3' ;;
	libcriterion-dev) pkg-config --exists 'criterion >= 2.3' ;;
	libclang-rt-dev) echo 'int main(void) { return 0; }' | clang -fsanitize=address -xc - -o /dev/null ;;
	dpkg-dev) have dpkg-shlibdeps ;;
	chromium-driver) have chromedriver ;;
	man-db) have man ;;
	groff-base) have groff ;;
	haproxy | logrotate) PATH=$PATH:/usr/sbin have "$1" ;;
	iproute2) PATH=$PATH:/usr/sbin have ip ;;
	python3-yaml) /usr/bin/python3 -c 'import yaml' ;;
	libmemcached-tools) have memccp ;;
	netcat-openbsd) have nc ;;
	*) have "$1" ;;
	esac &>/dev/null
}

absent() { # PACKAGE...: prints those that are not present
	local package
	for package; do
		present "$package" || echo "$package"
	done
}

may_be_root() {
	((EUID == 0)) || { have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; }
}

as_root() { # COMMAND...
	if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Installs what is not there yet; runs nothing at all when nothing is missing.
install_packages() { # PACKAGE...
	local log=build/install.log missing
	local get=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120)
	mapfile -t missing < <(absent "$@")
	((${#missing[@]})) || return 0

	have apt-get || die "missing: ${missing[*]} (Debian's names), and there is no apt-get to install them with.
$BY_HAND"
	may_be_root || die "missing: ${missing[*]}. Installing takes root; as root, run
  apt-get update && apt-get install --no-install-recommends ${missing[*]}"

	echo "installing ${missing[*]}"
	mkdir -p build
	# A failed update is no failure yet: what the last one knew may be enough.
	{ as_root "${get[@]}" update || true
	  as_root "${get[@]}" install -y --no-install-recommends "${missing[@]}"; } &>"$log" || {
		tail -n 15 "$log" >&2
		die "apt-get could not install ${missing[*]}: is there a network? The whole log is $log."
	}
	mapfile -t missing < <(absent "$@")
	((${#missing[@]} == 0)) || die "apt-get installed ${missing[*]}, but too old a version, or not where it is looked for.
$BY_HAND"
}

# Configures and builds; says nothing else but warnings and errors.
build() { # DIR TARGET [CMAKE OPTION...]
	local dir=$1 target=$2
	shift 2
	echo "building $dir"
	cmake -S . -B "$dir" "$@" >/dev/null
	cmake --build "$dir" --target "$target" --parallel "$(nproc)" -- --quiet | sed '/no work to do/d'
}
