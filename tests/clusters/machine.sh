#!/usr/bin/env bash
# Becomes one machine of the fake cloud: a filesystem, processes, a name and a network of its own, and an sshd.
#
#   NAME=... ADDRESS=... unshare --mount --uts --net --pid --fork --kill-child machine.sh
#
#   ROOT        an empty folder, in which the machine's disk is mounted
#   NAME        of the host
#   ADDRESS     inside the cloud, and PUBLIC outside of it, if it has one
#   KEY         that opens the account `ubuntu`
#   SETTINGS    NAME=VALUE ..., of every process that comes by ssh: AWS's address and what the machine's role may
#   PREFIX      the environment of Python that ~/ablations/env is a copy of, and BASE the Python below it
#   AWS         the aws command
#
# The disk is memory; /usr, Python and the environment are the host's, read-only or below a layer of the machine's own.
# All ends with process 1, which is this script.
set -euo pipefail
umask 022

overlay() { # NAME LOWER TARGET
    mkdir -p ".layers/$1/upper" ".layers/$1/work" "$3"
    mount -t overlay machine -o "lowerdir=$2,upperdir=$PWD/.layers/$1/upper,workdir=$PWD/.layers/$1/work" "$3"
}

make_disk() {
    mount --make-rprivate /
    mount -t tmpfs -o mode=755 machine "$ROOT"
    cd "$ROOT"
    mkdir -p usr root run/sshd var/log var/empty dev proc sys .old
    mkdir -m 1777 tmp
    mount --bind /usr usr
    mount -o remount,bind,ro usr
    for folder in bin sbin lib lib64; do
        if [ -L "/$folder" ]; then cp -P "/$folder" .; else mkdir "$folder" && mount --rbind "/$folder" "$folder"; fi
    done
    overlay etc /etc etc
    overlay local /usr/local usr/local
    if [ ! -e ".$BASE" ]; then mkdir -p ".$BASE" && mount --bind "$BASE" ".$BASE"; fi
}

make_devices() {
    mount -t proc proc proc
    mount -t sysfs -o ro sys sys
    mount -t tmpfs -o mode=755 devices dev
    for device in null zero full random urandom tty; do
        touch "dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 pts dev/pts
    mount -t tmpfs -o mode=1777 shm dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "dev/${stream#*:}"; done
}

make_account() {
    printf '%s\n' root:x:0:0::/root:/bin/bash ubuntu:x:1000:1000::/home/ubuntu:/bin/bash \
        sshd:x:100:65534::/run/sshd:/usr/sbin/nologin >etc/passwd
    printf '%s:*:::::::\n' root ubuntu sshd >etc/shadow
    printf '%s\n' root:x:0: tty:x:5: ubuntu:x:1000: nogroup:x:65534: >etc/group
    mkdir -p -m 700 home/ubuntu/.ssh
    cp -a /etc/skel/. home/ubuntu
    echo "$KEY" >home/ubuntu/.ssh/authorized_keys
    chown -R 1000:1000 home/ubuntu
}

# The environment as it is before the set-up commands: there is no index to install from. It is found at the host's
# path too, which stands in its scripts' first lines. Folders and scripts are the account's, to be installed into.
make_environment() {
    overlay env "$PREFIX" home/ubuntu/ablations/env
    chown 1000:1000 home/ubuntu/ablations
    find home/ubuntu/ablations/env -type d -exec chown 1000:1000 {} +
    chown -h 1000:1000 home/ubuntu/ablations/env/pyvenv.cfg home/ubuntu/ablations/env/bin/*
    mkdir -p "$(dirname ".$PREFIX")"
    ln -s /home/ubuntu/ablations/env ".$PREFIX"
    printf '[global]\nno-index = true\nno-build-isolation = false\n' >etc/pip.conf # pip's false is the "no"
}

# What Amazon's image has and this machine may lack. sudo and apt-get write down what was asked and change nothing.
make_programs() {
    touch var/log/asked
    chmod 666 var/log/asked
    printf '#!/bin/sh\necho "sudo $*" >>/var/log/asked\nexec "$@"\n' >usr/local/bin/sudo
    printf '#!/bin/sh\necho "apt-get $*" >>/var/log/asked\n' >usr/local/bin/apt-get
    printf '#!/bin/sh\nexec "%s/bin/python3" "$@"\n' "$BASE" >usr/local/bin/python3 # by a link it would miss its modules
    chmod 755 usr/local/bin/sudo usr/local/bin/apt-get usr/local/bin/python3
    ln -sf "$AWS" usr/local/bin/aws
}

# The cloud's network is one wire: whatever the address, it is asked for there. Like Amazon's, the public address is
# not among those that the machine knows of itself.
make_network() {
    rm -f etc/resolv.conf etc/hosts
    echo "127.0.0.1 localhost" >etc/hosts
    echo "$ADDRESS $NAME" >>etc/hosts
    hostname "$NAME"
    ip link set lo up
    until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
    ip address add "$ADDRESS/32" dev eth0
    ip link set eth0 up
    ip route add default dev eth0 src "$ADDRESS"
    if [ -n "$PUBLIC" ]; then ip route add local "$PUBLIC" dev lo; fi
}

make_ssh() {
    ssh-keygen -q -t ed25519 -N '' -f run/sshd/key
    printf '%s\n' 'HostKey /run/sshd/key' 'PidFile none' 'UsePAM no' 'PasswordAuthentication no' \
        "SetEnv $SETTINGS" >run/sshd/config
}

make_disk
make_devices
make_account
make_environment
make_programs
make_network
make_ssh
pivot_root . .old
cd /
umount -l .old
/usr/sbin/sshd -f /run/sshd/config -E /var/log/sshd
while :; do
    sleep 3600 &
    wait $!
done
