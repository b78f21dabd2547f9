#!/bin/sh
# A real Slurm of one node on this machine, to test `rescale study ... --on slurm`. Needs root and Debian's packages:
#     apt-get install slurm-wlm munge
#     sh scripts/local_slurm.sh start [FOLDER]    # then: export SLURM_CONF=FOLDER/slurm.conf
#     sh scripts/local_slurm.sh stop [FOLDER]
# Processes are followed by their ancestry (linuxproc) and not confined (task/none), so no cgroups are needed.
# There is no accounting database, and MUNGE uses a key and a socket of its own.
set -eu

folder=${2:-/tmp/local-slurm}

start() {
    for program in munged slurmctld slurmd; do
        command -v "$program" > /dev/null || { echo "$program is missing: apt-get install slurm-wlm munge" >&2; exit 2; }
    done
    mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
    chmod 755 "$folder" "$folder/munge"
    host=$(hostname -s)
    cores=$(nproc)
    [ -f "$folder/munge/key" ] || dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 2> /dev/null
    chmod 400 "$folder/munge/key"
    cat > "$folder/slurm.conf" << END
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0
ReturnToService=2
KillWait=20
MinJobAge=10
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=7-0 State=UP
PartitionName=short Nodes=$host MaxTime=60 State=UP
END
    export SLURM_CONF="$folder/slurm.conf"
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    slurmctld
    slurmd
    for _ in $(seq 60); do
        sinfo -h -o %T 2> /dev/null | grep -q idle && { echo "export SLURM_CONF=$SLURM_CONF"; exit 0; }
        sleep 0.5
    done
    echo "the node did not become idle; see $folder/slurmctld.log and $folder/slurmd.log" >&2
    stop
    exit 1
}

stop() {
    for name in slurmd.pid slurmctld.pid munge/pid; do
        if [ -f "$folder/$name" ]; then
            kill "$(cat "$folder/$name")" 2> /dev/null || true
        fi
    done
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    *) echo "usage: sh scripts/local_slurm.sh start|stop [FOLDER]" >&2; exit 2 ;;
esac
