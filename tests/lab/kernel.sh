#!/bin/bash
# Runs in the workshop (Debian with headers and linux-source of one version): the kernel of the virtual Pi into /build.
# gpio-sim is not in Debian's kernels: built out of tree, with the interrupt simulator that it needs inside.
set -euo pipefail
modules=$1
mount -t tmpfs none /mnt 2>/dev/null || true
headers=$(echo /usr/src/linux-headers-*-amd64)
version=${headers#/usr/src/linux-headers-}
[ -d "$headers" ] || { echo "no headers, or of more than one kernel: $headers" >&2; exit 1; }

work=$(mktemp -d)
cd "$work"
apt-get update -qq
apt-get download -qq -o APT::Sandbox::User=root "linux-image-$version"
dpkg-deb -x linux-image-*.deb image
cp "image/boot/vmlinuz-$version" /build/vmlinuz

mkdir sim
tar -xJf /usr/src/linux-source-6.1.tar.xz -C sim --strip-components=3 linux-source-6.1/drivers/gpio/gpio-sim.c \
    linux-source-6.1/drivers/gpio/gpiolib.h
tar -xJf /usr/src/linux-source-6.1.tar.xz -C sim --strip-components=3 linux-source-6.1/kernel/irq/irq_sim.c
sed -i 's/handle_simple_irq(irq_to_desc(\([a-z]*\)))/generic_handle_irq(\1)/' sim/irq_sim.c
mv sim/gpio-sim.c sim/sim.c
printf 'obj-m += gpio-sim.o\ngpio-sim-y := sim.o irq_sim.o\n' >sim/Makefile
make -s -C "$headers" M="$work/sim" modules

tree=image/lib/modules/$version
mkdir -p "$tree/extra"
cp sim/gpio-sim.ko "$tree/extra/"
depmod -b image "$version"
# Only what is used, and what that needs.
mkdir -p "/build/modules/$version" /build/early
n=10
for module in $modules gpio-sim; do
    while read -r verb path _; do
        [ "$verb" = insmod ] || continue
        name=${path#"$PWD/image/lib/modules/$version/"}
        name=${name#image/lib/modules/"$version"/}
        install -D -m 644 "$tree/$name" "/build/modules/$version/$name"
        case $module in
            virtio_pci | virtio_blk | ext4 | crc32c_generic)
                compgen -G "/build/early/*-${name##*/}" >/dev/null ||
                    { cp "$tree/$name" "/build/early/$n-${name##*/}"; n=$((n + 1)); }
                ;;
        esac
    done < <(modprobe -d "$PWD/image" -S "$version" --show-depends "$module")
done
cp "$tree"/modules.{order,builtin,builtin.modinfo} "/build/modules/$version/"
mkdir -p /tmp/dm/lib && ln -sfn /build/modules /tmp/dm/lib/modules
depmod -b /tmp/dm "$version"
echo "$version" >/build/version
rm -rf "$work" /build/kernel.sh
