#!/usr/bin/env bash
# MLflow's server on the head of a cluster: no systemd, started again whenever it ends, until `stop`.
#
#   clusters/mlflow-server.sh start|stop|status
#
# It answers on loopback and on the head's address inside the cluster, to those names alone and with a password alone.
# `start` makes the password (user admin) and ends once the server answers; a server that runs is started anew.
#
#   ABLATION_MLFLOW                folder of the database, the users, the secrets and the logs (~/ablations/mlflow)
#   ABLATION_MLFLOW_ADDRESS        the head's address inside the cluster (the first that `hostname -I` gives)
#   MLFLOW_PORT                    (5000)
#   MLFLOW_BACKEND_STORE_URI       where the runs are (SQLite in the folder); postgresql://USER@HOST/NAME for a
#                                  PostgreSQL, its password in ~/.pgpass (0600)
#   MLFLOW_ARTIFACTS_DESTINATION   where the pictures and files are (ABLATION_SHARED/mlflow, else in the folder)
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${ABLATION_MLFLOW:-$HOME/ablations/mlflow}
address=${ABLATION_MLFLOW_ADDRESS:-$(hostname -I 2>/dev/null | cut -d' ' -f1 || true)}
if [ "$address" = 127.0.0.1 ]; then address=; fi
port=${MLFLOW_PORT:-5000}
start_limit_s=120
restart_after_s=2
ended="the server has ended and is started again"

fail() {
    echo "mlflow-server.sh: $1" >&2
    exit 1
}

# One `start` or `stop` at a time: of two at once neither would know the other's servers.
lock() {
    mkdir -p "$folder"
    exec 9>"$folder/lock"
    flock --wait 300 9 || fail "another mlflow-server.sh is at work; see $folder"
}

prepare() {
    "$here/secrets.sh" "$folder/password" "$folder/flask_key"
    if [ -z "${MLFLOW_BACKEND_STORE_URI:-}" ]; then
        MLFLOW_BACKEND_STORE_URI="sqlite:///$folder/mlflow.db"
        # Lets the page read while the driver writes; the database keeps the setting.
        python -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("PRAGMA journal_mode=WAL")' "$folder/mlflow.db"
    fi
    # By the environment, not the command line, which every user of the machine can read.
    export MLFLOW_BACKEND_STORE_URI
    local beside_the_store=${ABLATION_SHARED:+$ABLATION_SHARED/mlflow}
    export MLFLOW_ARTIFACTS_DESTINATION=${MLFLOW_ARTIFACTS_DESTINATION:-${beside_the_store:-$folder/artifacts}}
    export MLFLOW_AUTH_ADMIN_USERNAME=admin MLFLOW_AUTH_CONFIG_PATH="$folder/basic_auth.ini"
    export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
    MLFLOW_AUTH_ADMIN_PASSWORD=$(<"$folder/password")
    MLFLOW_FLASK_SERVER_SECRET_KEY=$(<"$folder/flask_key")
    export MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY
    # The check of a password is slow on purpose: a right one is remembered for a minute.
    cat >"$MLFLOW_AUTH_CONFIG_PATH" <<END
[mlflow]
default_permission = READ
database_uri = sqlite:///$folder/basic_auth.db
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
END
    local why
    why=$(python "$here/reach.py" 2>&1) || fail "${why##*$'\n'}"
}

# MLflow's clients on this machine read this file: the driver, `report`, a notebook. Another's is left alone.
sign_in() {
    local credentials=$HOME/.mlflow/credentials
    mkdir -p "$(dirname "$credentials")"
    if [ ! -e "$credentials" ]; then
        printf '[mlflow]\nmlflow_tracking_username = admin\nmlflow_tracking_password = %s\n' \
            "$MLFLOW_AUTH_ADMIN_PASSWORD" >"$credentials"
    elif [[ $(<"$credentials") != *"$MLFLOW_AUTH_ADMIN_PASSWORD"* ]]; then
        echo "mlflow-server.sh: $credentials is for another server; set MLFLOW_TRACKING_USERNAME=admin and" \
            "MLFLOW_TRACKING_PASSWORD from $folder/password" >&2
    fi
}

# The loop of one address, at the head of a session of its own: `kill 0` reaches what it has started, nothing else.
serve() {
    # Any port: a tunnel may end at another on the laptop.
    local hosts="localhost,localhost:*,127.0.0.1,127.0.0.1:*${address:+,$address,$address:*}"
    while :; do
        mlflow server --app-name basic-auth --host "$1" --port "$port" --workers 1 --allowed-hosts "$hosts" &
        wait $! || true
        echo "$(date -Is) $ended"
        trap '' TERM # what the server has left behind must free the port
        kill -TERM 0
        trap - TERM
        sleep "$restart_after_s"
    done
}

running() {
    # The number alone may be another's by now, after a reboot.
    [ -s "$folder/pid-$1" ] && pgrep -g "$(<"$folder/pid-$1")" -f mlflow >/dev/null
}

answers() {
    python -c 'import sys, urllib.request as r; r.urlopen("http://{}:{}/health".format(*sys.argv[1:]), timeout=2)' \
        "$1" "$port" 2>/dev/null
}

# One after the other: two servers that open a new database at once break it.
start() {
    local log=$folder/log-$1
    if (: <>"/dev/tcp/$1/$port") 2>/dev/null; then fail "another program has port $port of $1; set MLFLOW_PORT"; fi
    if [ -f "$log" ]; then mv "$log" "$log.before"; fi
    : >"$log"
    setsid "$here/mlflow-server.sh" serve "$1" </dev/null >>"$log" 2>&1 9>&- &
    echo $! >"$folder/pid-$1"
    for ((second = 0; second < start_limit_s; second++)); do
        if grep -qF "$ended" "$log"; then break; fi
        if answers "$1"; then
            echo "MLflow answers at http://$1:$port; user admin, password in $folder/password"
            return
        fi
        sleep 1
    done
    stop_all
    fail "MLflow does not start at $1:$port; the last of $log:"$'\n'"$(tail -n 20 "$log")"
}

stop() {
    if running "$1"; then
        kill -TERM -- -"$(<"$folder/pid-$1")"
        for ((tenth = 0; tenth < 100; tenth++)); do
            running "$1" || break
            sleep 0.1
        done
        if running "$1"; then kill -KILL -- -"$(<"$folder/pid-$1")"; fi
    fi
    rm -f "$folder/pid-$1"
}

stop_all() {
    for pid in "$folder"/pid-*; do
        if [ -f "$pid" ]; then stop "${pid##*/pid-}"; fi
    done
}

status() {
    for host in 127.0.0.1 $address; do
        if ! running "$host" || ! answers "$host"; then fail "MLflow does not answer at $host:$port"; fi
        echo "MLflow answers at http://$host:$port"
    done
}

case ${1:-} in
start)
    lock
    prepare
    stop_all
    for host in 127.0.0.1 $address; do start "$host"; done
    sign_in
    ;;
stop)
    lock
    stop_all
    ;;
status) status ;;
serve) serve "$2" ;; # used by start, with what it has exported
*)
    sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p;}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
