#!/bin/busybox sh
# The first program of the virtual Pi: loads what its disk needs, and goes on there.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in /early/*; do $b insmod "$module" || echo "no $module"; done
i=0
while [ ! -b /dev/vda ] && [ $i -lt 100 ]; do $b usleep 50000; i=$((i + 1)); done
$b mount -t ext4 -o rw /dev/vda /new
$b umount /proc
$b umount /sys
$b mount --move /dev /new/dev
exec $b switch_root /new /lib/systemd/systemd
