#!/bin/sh
# Print the newest Python on PATH that Bindery can use; where there is none, say how to install one here, and end with 1.
#
#   PYTHON=…         take this one, or say why not
#   OUTSIDE_HOMES=1  none that lives in somebody's home: a service has no way there
#   OS_RELEASE=…     instead of /etc/os-release
set -u

OLDEST=3.11
# What requirements.txt has ready-made packages for. A newer Python is taken only where there is no other.
NEWEST=3.14
LOOK='import os, sys
assert sys.version_info >= ('"$(echo "$OLDEST" | tr . ,)"') and "t" not in sys.abiflags
print("%d %d %d" % sys.version_info[:3], os.path.realpath(sys.executable))'

say() { echo "bindery: $*" >&2; }

# "rank place name" of one interpreter; nothing where it does not answer, is too old, or is a free-threaded build.
look() {
  found=$("$1" -c "$LOOK" </dev/null 2>/dev/null) || return 0
  set -- "$1" $found
  case "${OUTSIDE_HOMES:-}$5" in 1/root/*|1/home/*|1/run/user/*) return 0 ;; esac
  rank=$(($2 * 1000000 + $3 * 1000 + $4))
  [ "$2.$3" = "$NEWEST" ] || [ "$3" -lt "${NEWEST#*.}" ] || rank=$((4000000 - rank))
  echo "$rank $2.$3 $1"
}

candidates() {
  [ -z "${PYTHON:-}" ] || { look "$PYTHON"; return; }
  (
    IFS=:
    for place in $PATH; do
      for each in "$place"/python3.* "$place"/python3 "$place"/python; do
        case "${each##*/}" in *[!a-z0-9.]*|*-config|python3.*[!0-9]*) continue ;; esac
        [ -x "$each" ] && [ ! -d "$each" ] && (unset IFS; look "$each")
      done
    done
  ) | sort -s -n -r -k 1,1
}

# The one line that installs what is missing: a whole Python, or the venv module of the version given. Nothing where
# this system has no package for it.
install_line() {
  id='' id_like='' version='' codename=''
  while IFS='=' read -r name value; do
    value=${value#[\"\']} value=${value%[\"\']}
    case "$name" in
      ID) id=$value ;;
      ID_LIKE) id_like=$value ;;
      VERSION_ID) version=$value ;;
      UBUNTU_CODENAME) codename=$value ;;
    esac
  done <"${OS_RELEASE:-/etc/os-release}"
  sudo='sudo '
  [ "$(id -u)" != 0 ] || sudo=''
  for each in $id $id_like; do
    case "$each:$version:$codename" in
      debian:1[01]:*|ubuntu:*:bionic|ubuntu:*:focal) ;;
      ubuntu:*:jammy) echo "${sudo}apt install ${1:-python3.11 python3.11}-venv" ;;
      debian:*|ubuntu:*) echo "${sudo}apt install ${1:-python3 python3}-venv" ;;
      fedora:*) echo "${sudo}dnf install python3" ;;
      rhel:*|centos:*|rocky:*|almalinux:*|ol:*) echo "${sudo}dnf install python3.12" ;;
      opensuse-leap:15*|sles:15*|sle:15*) echo "${sudo}zypper install python311" ;;
      opensuse*:*|sles:*|suse:*) echo "${sudo}zypper install python313" ;;
      alpine:*) echo "${sudo}apk add python3" ;;
      arch:*) echo "${sudo}pacman -S python" ;;
      *) continue ;;
    esac
    return
  done
}

advise() {
  line=$(install_line "$1" 2>/dev/null)
  if [ -n "$line" ]; then
    printf 'bindery: %s Install it and try again:\n  %s\n' "$2" "$line" >&2
  else
    say "$2 Install it, or name one: make PYTHON=/path/to/python3 …"
  fi
  exit 1
}

lacking=''
without=''
while read -r _ version python; do
  [ -n "$python" ] || continue
  if "$python" -c 'import ensurepip, venv' </dev/null >/dev/null 2>&1; then
    echo "$python"
    exit 0
  fi
  lacking=${lacking:-python$version} without=${without:-$python}
done <<END
$(candidates)
END

[ -z "$lacking" ] || advise "$lacking" "$without has no venv module."
[ -z "${PYTHON:-}" ] || { say "PYTHON=$PYTHON is no Python $OLDEST or newer that can be used here."; exit 1; }
advise '' "Python $OLDEST or newer is needed, and there is none on PATH${OUTSIDE_HOMES:+ outside of home directories}."
