#!/bin/sh
# Runs in the virtual Pi at boot. Sound cards come later: a kiosk must cope with none.
set -e
ip link set lo up
ip link set eth0 up
ip address replace 10.0.2.15/24 dev eth0
ip route replace default via 10.0.2.2
modprobe softdog
modprobe gpio-sim
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
chip=/sys/kernel/config/gpio-sim/kiosk
mkdir -p $chip/bank
echo 32 >$chip/bank/num_lines
echo 1 >$chip/live
# gpiozero asks for the revision of the board, and takes the pins of a Pi 3 then.
{ cat /proc/cpuinfo; printf 'Revision\t: a020d3\n'; } >/run/cpuinfo
mount --bind /run/cpuinfo /proc/cpuinfo
