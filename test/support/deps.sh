#!/bin/sh
# Installs what one task needs and is not there yet: deps.sh build|unit|demo|check|all|lint|bench
#
# Called by make before the task.  Debian packages come from apt, as root or through sudo; without
# either the exact command is printed and the script stops with 1.  When everything is there it only
# asks dpkg once.  Services that packages would start stay off: the tests run their own servers.
set -eu

cd "$(dirname "$0")/../.."

build='gcc make pkg-config libc6-dev libev-dev libssl-dev libinih-dev libpg-query-dev libmicrohttpd-dev libhiredis-dev
    libpq-dev libncurses-dev'
unit='libcmocka-dev'
demo='python3 postgresql-15 postgresql-client-15'
check='redis-server pgbouncer prometheus python3-venv openssl libpam0g-dev libldap-dev groff-base
    dpkg-dev debhelper lintian systemd bash chromium'
lint='clang clang-tidy clang-format cppcheck shellcheck'
sanitize='clang libclang-rt-14-dev'
packaging='debootstrap rpm rpmlint'
bench='valgrind strace pgbouncer'

# Tools that may be there without being Debian's: command:package.  In check, but only if missing.
# Go is not among them: Debian 12's is too old for current drivers, test/drivers/program.py gets one.
drivers='node:nodejs npm:npm java:default-jdk-headless javac:default-jdk-headless mvn:maven'

packages=$build
commands=
venv=no
case "${1:-}" in
build) ;;
unit) packages="$build $unit" ;;
demo) packages="$build $demo" ;;
lint) packages="$build $unit $lint $sanitize" ;;
bench)
    packages="$build $demo $check $bench"
    ;;
check)
    packages="$build $unit $demo $check"
    commands=$drivers
    venv=yes
    ;;
all | check-all | soak)
    packages="$build $unit $demo $check $lint $sanitize $packaging $bench"
    commands=$drivers
    venv=yes
    ;;
*)
    echo "usage: $0 build|unit|demo|check|check-all|soak|all|lint|bench" >&2
    exit 2
    ;;
esac

installed() {
    # shellcheck disable=SC2086
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null |
        sed -n 's/^installed //p'
}

missing=
have=" $(installed | tr '\n' ' ') "
for p in $packages; do
    case "$have$missing " in
    *" $p "*) ;;
    *) missing="$missing $p" ;;
    esac
done
for pair in $commands; do
    case "$missing " in
    *" ${pair#*:} "*) continue ;;
    esac
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done

policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/penstock-tests.conf
run=
made=

clean_up() {
    for f in $made; do
        $run rm -f "$f"
    done
}

# make_file PATH MODE TEXT: only if it is not there, and for the time of the installation
make_file() {
    if [ ! -e "$1" ]; then
        $run mkdir -p "$(dirname "$1")"
        printf '%s\n' "$3" | $run tee "$1" >/dev/null
        $run chmod "$2" "$1"
        made="$made $1"
    fi
}

if [ -n "$missing" ]; then
    command="apt-get update && apt-get install -y --no-install-recommends$missing"
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1 || ! sudo -n true 2>/dev/null; then
            echo "Packages are missing. As root, run:" >&2
            echo "  $command" >&2
            exit 1
        fi
        run=sudo
    fi
    echo "installing:$missing"
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    make_file $policy 755 '#!/bin/sh
exit 101'
    make_file $cluster 644 'create_main_cluster = false'
    $run apt-get -q -o DPkg::Lock::Timeout=300 update
    # shellcheck disable=SC2086
    $run env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
        apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Options::=--force-confold install $missing
    clean_up
    made=
fi

if [ $venv = yes ]; then
    stamp=build/venv/.requirements
    if ! cmp -s test/requirements.txt "$stamp"; then
        echo "creating build/venv"
        mkdir -p build
        [ -x build/venv/bin/python ] || /usr/bin/python3 -m venv build/venv
        build/venv/bin/python -m pip install --quiet --disable-pip-version-check \
            -r test/requirements.txt
        cp test/requirements.txt "$stamp"
    fi
fi
