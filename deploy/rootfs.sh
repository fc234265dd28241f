#!/bin/sh
# Lays out the root of the container image: the binary, the libraries it is linked with, and the few
# files that the C library reads. No shell, no package manager, nothing that is setuid.
#
#     deploy/rootfs.sh BINARY DIRECTORY
set -eu

binary=$1
root=$2
user=10001

install -d -m 0755 "$root" "$root/usr/bin" "$root/etc/quipu" "$root/var/lib" "$root/proc" "$root/dev"
install -d -m 1777 "$root/tmp"
install -d -m 0750 -o "$user" -g "$user" "$root/var/lib/quipu"
install -m 0755 "$binary" "$root/usr/bin/quipu"

# "name => /path (address)", and the loader as "/path (address)".
ldd "$binary" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    install -D -m 0755 "$(readlink -f "$library")" "$root$library"
done

printf 'root:x:0:0:root:/:/sbin/nologin\nquipu:x:%s:%s:quipu:/var/lib/quipu:/sbin/nologin\n' "$user" "$user" >"$root/etc/passwd"
printf 'root:x:0:\nquipu:x:%s:\n' "$user" >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
# Container engines and Kubernetes put their own in these places.
: >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
chmod 0644 "$root/etc/passwd" "$root/etc/group" "$root/etc/nsswitch.conf" "$root/etc/hosts" "$root/etc/resolv.conf"
