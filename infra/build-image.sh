#!/usr/bin/env bash
# Build an image with buildah, and play the tiny round in it as its own user and as an arbitrary uid.
#
#   infra/build-image.sh [cpu|gpu]            as root, with Debian's packages buildah and debootstrap
#
#   BASE=python:3.11-slim-bookworm            take this base image; by default debootstrap makes one of Debian bookworm
#   ISOLATION=oci                             run the steps in containers; by default in a chroot, which needs no rights
#                                             over namespaces
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-cpu}
isolation=${ISOLATION:-chroot}
stand_in=localhost/active-zero:base
base=${BASE:-$stand_in}

for tool in buildah debootstrap; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install $tool" >&2; exit 2; }
done

# What Triton does at run time: compile a module in C with the headers of Python.
compiles=
if test "$target" = gpu; then
    compiles='echo "#include <Python.h>" | gcc -shared -fPIC -O3 -x c - -o /tmp/module.so \
        -I"$(python -c "import sysconfig; print(sysconfig.get_path(\"include\"))")";'
fi

# When the script ends, the container and debootstrap's folder are removed.
folder=$(mktemp -d)
container=
clean() {
    test -z "$container" || buildah rm "$container" >/dev/null
    rm -rf --one-file-system "$folder"
}
trap clean EXIT

# Debian's Python 3.11 in place of the official image: pip installs system-wide there, and the headers are included.
make_stand_in() {
    debootstrap --variant=minbase --include=ca-certificates,python3-dev,python3-pip bookworm "$folder"
    rm "$folder"/usr/lib/python3.11/EXTERNALLY-MANAGED "$folder"/etc/resolv.conf
    rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
    # This machine may trust a company's own certificate authority.
    cp /etc/ssl/certs/ca-certificates.crt "$folder"/etc/ssl/certs/ca-certificates.crt
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$folder" /
    buildah config --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "$container"
    buildah commit --quiet --rm "$container" "$stand_in"
    container=
}

play() { # as the user $1
    local started=$SECONDS
    echo "the tiny round as user $1"
    container=$(buildah from "localhost/active-zero:$target")
    buildah run --isolation "$isolation" --user "$1" "$container" -- \
        sh -euc "id; $compiles active-zero doctor; active-zero iterate"
    buildah rm "$container" >/dev/null
    container=
    echo "the tiny round as user $1: $((SECONDS - started)) s"
}

if test "$base" = "$stand_in" && ! buildah inspect --type image "$stand_in" >/dev/null 2>&1; then
    make_stand_in
fi
buildah bud --isolation "$isolation" --build-arg BASE="$base" -f infra/Dockerfile --target "$target" \
    -t "localhost/active-zero:$target" .
play player
play 12345:0
