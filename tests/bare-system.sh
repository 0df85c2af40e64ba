# shellcheck shell=bash
# A bare Debian 12 of one's own, for tests that install into it.

# bare_system DIRECTORY [PACKAGE]: this system's own way to the packages is the
# new one's, too.
bare_system() {
	local mirror
	# shellcheck disable=SC2016 # apt expands it
	mirror=$(apt-get indextargets --format '$(REPO_URI)' \
		'Created-By: Packages' 'Codename: bookworm' | head -n 1)
	debootstrap --variant=minbase ${2:+--include="$2"} bookworm "$1" \
		"$mirror" || return
	cp /etc/apt/apt.conf.d/* "$1/etc/apt/apt.conf.d/" 2>/dev/null
	return 0
}

in_system() { # DIRECTORY COMMAND...
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive chroot "$@"
}
